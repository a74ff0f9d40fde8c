#!/usr/bin/env node
// Fake OpenAI-compatible LLM provider. Plain node:http, no dependencies.
// Env: PORT (18080) HOST (127.0.0.1)
//      TTFT_MS  time to first token (default 0)
//      CHUNKS   number of content chunks (default 8)
//      CHUNK_MS inter-chunk delay (default 0 = all chunks written at once)
//      REPLY    full reply text (default: "token0 token1 ...", one token per chunk)
//      TOOL     name of a tool; when set, the first request of each user turn is answered with a
//               tool call TOOL(TOOL_ARGS), and the request that carries its result with text
//      TOOL_ARGS JSON string (default "{}")
//      DUMP     path: writes the last request body there
// Endpoints: POST /v1/chat/completions, POST /v1/responses (stream true/false), GET /v1/models,
//            GET /stats (counters), POST /reset (zero counters), POST /config {ttftMs,chunks,chunkMs,tool,toolArgs}
import http from "node:http"
import fs from "node:fs"

const cfg = {
  ttftMs: Number(process.env.TTFT_MS ?? 0),
  chunks: Number(process.env.CHUNKS ?? 8),
  chunkMs: Number(process.env.CHUNK_MS ?? 0),
  reply: process.env.REPLY ?? "",
  tool: process.env.TOOL ?? "",
  toolArgs: process.env.TOOL_ARGS ?? "{}"
}
const s = {
  requests: 0,
  inflight: 0,
  peakInflight: 0,
  aborted: 0,
  streams: 0,
  bytesIn: 0,
  maxBody: 0,
  lastBody: 0,
  lastMessages: 0,
  byPath: {}
}
const reset = () =>
  Object.assign(s, {
    requests: 0,
    peakInflight: s.inflight,
    aborted: 0,
    streams: 0,
    bytesIn: 0,
    maxBody: 0,
    byPath: {}
  })
const sleep = (ms) => new Promise((r) => setTimeout(r, ms))
let seq = 0

const pieces = () => {
  if (cfg.reply) {
    const n = Math.max(1, cfg.chunks),
      step = Math.ceil(cfg.reply.length / n),
      out = []
    for (let i = 0; i < cfg.reply.length; i += step) out.push(cfg.reply.slice(i, i + step))
    return out
  }
  return Array.from({ length: Math.max(1, cfg.chunks) }, (_, i) => `token${i} `)
}
const json = (res, code, body) => {
  const b = JSON.stringify(body)
  res.writeHead(code, { "content-type": "application/json", "content-length": Buffer.byteLength(b) })
  res.end(b)
}
const usage = { prompt_tokens: 10, completion_tokens: 8, total_tokens: 18 }

async function chat(req, res, body) {
  const id = `chatcmpl-fake-${++seq}`,
    model = body.model ?? "fake",
    created = Math.floor(Date.now() / 1000)
  // tool mode: one tool call per user turn = no role:tool message since the last assistant text
  // (OpenClaw appends an internal-context user message after tool results, so the last role alone would loop)
  let doTool = !!cfg.tool
  if (doTool)
    for (let i = body.messages.length - 1; i >= 0; i--) {
      const m = body.messages[i]
      if (m.role === "tool") {
        doTool = false
        break
      }
      if (m.role === "assistant" && !m.tool_calls?.length) break
    }
  if (cfg.ttftMs) await sleep(cfg.ttftMs)
  if (res.destroyed) return
  const call = { id: `call_${seq}`, type: "function", function: { name: cfg.tool, arguments: cfg.toolArgs } }
  if (!body.stream) {
    if (cfg.chunkMs) await sleep(cfg.chunkMs * (pieces().length - 1))
    return json(res, 200, {
      id,
      object: "chat.completion",
      created,
      model,
      choices: [
        {
          index: 0,
          finish_reason: doTool ? "tool_calls" : "stop",
          message: doTool
            ? { role: "assistant", content: null, tool_calls: [call] }
            : { role: "assistant", content: pieces().join("") }
        }
      ],
      usage
    })
  }
  s.streams++
  res.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-cache",
    connection: "keep-alive"
  })
  const ev = (delta, finish = null, extra = {}) =>
    `data: ${JSON.stringify({ id, object: "chat.completion.chunk", created, model, choices: [{ index: 0, delta, finish_reason: finish }], ...extra })}\n\n`
  const tail = () => {
    let t = ev({}, doTool ? "tool_calls" : "stop")
    if (body.stream_options?.include_usage)
      t += `data: ${JSON.stringify({ id, object: "chat.completion.chunk", created, model, choices: [], usage })}\n\n`
    return t + "data: [DONE]\n\n"
  }
  if (doTool) {
    res.write(ev({ role: "assistant", content: null, tool_calls: [{ index: 0, ...call }] }))
    return void res.end(tail())
  }
  const ps = pieces()
  if (!cfg.chunkMs) {
    res.write(ev({ role: "assistant", content: ps[0] }))
    return void res.end(
      ps
        .slice(1)
        .map((p) => ev({ content: p }))
        .join("") + tail()
    )
  }
  for (let i = 0; i < ps.length; i++) {
    if (i) await sleep(cfg.chunkMs)
    if (res.destroyed) return
    res.write(ev(i ? { content: ps[i] } : { role: "assistant", content: ps[0] }))
  }
  res.end(tail())
}

async function responses(req, res, body) {
  const id = `resp_fake_${++seq}`,
    mid = `msg_${seq}`,
    model = body.model ?? "fake",
    created_at = Math.floor(Date.now() / 1000)
  if (cfg.ttftMs) await sleep(cfg.ttftMs)
  if (res.destroyed) return
  const ps = pieces(),
    text = ps.join("")
  const item = {
    id: mid,
    type: "message",
    role: "assistant",
    status: "completed",
    content: [{ type: "output_text", text, annotations: [] }]
  }
  const done = {
    id,
    object: "response",
    created_at,
    model,
    status: "completed",
    output: [item],
    usage: { input_tokens: 10, output_tokens: 8, total_tokens: 18 }
  }
  if (!body.stream) return json(res, 200, done)
  s.streams++
  res.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" })
  let n = 0
  const ev = (type, d) =>
    res.write(`event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: n++, ...d })}\n\n`)
  ev("response.created", { response: { ...done, status: "in_progress", output: [], usage: null } })
  ev("response.output_item.added", { output_index: 0, item: { ...item, status: "in_progress", content: [] } })
  ev("response.content_part.added", {
    item_id: mid,
    output_index: 0,
    content_index: 0,
    part: { type: "output_text", text: "", annotations: [] }
  })
  for (let i = 0; i < ps.length; i++) {
    if (i && cfg.chunkMs) await sleep(cfg.chunkMs)
    ev("response.output_text.delta", { item_id: mid, output_index: 0, content_index: 0, delta: ps[i] })
  }
  ev("response.output_text.done", { item_id: mid, output_index: 0, content_index: 0, text })
  ev("response.content_part.done", { item_id: mid, output_index: 0, content_index: 0, part: item.content[0] })
  ev("response.output_item.done", { output_index: 0, item })
  ev("response.completed", { response: done })
  res.end()
}

const server = http.createServer((req, res) => {
  const path = req.url.split("?")[0]
  const parts = []
  req.on("data", (c) => parts.push(c))
  req.on("end", async () => {
    const raw = Buffer.concat(parts)
    if (path === "/stats") return json(res, 200, { ...s, cfg })
    if (path === "/reset") {
      reset()
      return json(res, 200, { ok: true })
    }
    if (path === "/config") {
      Object.assign(cfg, JSON.parse(raw.toString() || "{}"))
      reset()
      return json(res, 200, cfg)
    }
    if (path.endsWith("/models"))
      return json(res, 200, {
        object: "list",
        data: [{ id: "fake", object: "model", created: 0, owned_by: "fake" }]
      })
    const h = path.endsWith("/chat/completions") ? chat : path.endsWith("/responses") ? responses : null
    if (!h) return json(res, 404, { error: { message: `no route ${path}` } })
    s.requests++
    s.byPath[path] = (s.byPath[path] ?? 0) + 1
    s.inflight++
    if (s.inflight > s.peakInflight) s.peakInflight = s.inflight
    s.bytesIn += raw.length
    s.lastBody = raw.length
    if (raw.length > s.maxBody) s.maxBody = raw.length
    let out = false
    res.on("close", () => {
      if (out) return
      out = true
      s.inflight--
      if (!res.writableFinished) s.aborted++
    })
    try {
      const body = JSON.parse(raw.toString())
      s.lastMessages = body.messages?.length ?? body.input?.length ?? 0
      if (process.env.DUMP) fs.writeFileSync(process.env.DUMP, raw)
      await h(req, res, body)
    } catch (e) {
      if (!res.headersSent) json(res, 500, { error: { message: String(e) } })
      else res.destroy()
    }
  })
})
server.keepAliveTimeout = 60_000
server.listen(Number(process.env.PORT ?? 18080), process.env.HOST ?? "127.0.0.1", () =>
  console.log(`fake provider on ${server.address().port}`, JSON.stringify(cfg))
)
const bye = () => {
  console.log(JSON.stringify(s))
  process.exit(0)
}
process.on("SIGINT", bye)
process.on("SIGTERM", bye)
