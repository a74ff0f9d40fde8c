#!/usr/bin/env node
// Generic load generator for OpenAI-compatible chat gateways. Plain node:http with keep-alive, no dependencies.
// Flags (or env LOAD_<NAME>, upper-case with _): --base-url --token --model --sessions N --messages M --concurrency C
//   --stream 0|1   --session-header NAME (sends NAME: <key>)   --user 0|1 (send `user`: <key>)
//   --session-prefix P   --session-offset K  --text T   --warmup W (messages per session, not counted)
//   --timeout-ms   --no-session 1 (stateless)   --pid PID (adds CPU seconds + RSS of that process tree)   --other-pids P,P (provider; so that foreign_cores = CPU used by unrelated processes, in cores)
//   --series 1 (adds the per-message latencies in order)
// C workers take sessions; each session sends its M messages strictly one after another.
import http from "node:http"
import fs from "node:fs"
import { performance } from "node:perf_hooks"

const arg = (n, d) => {
  const i = process.argv.indexOf(`--${n}`)
  return i > 0 ? process.argv[i + 1] : (process.env["LOAD_" + n.toUpperCase().replace(/-/g, "_")] ?? d)
}
const base = new URL(arg("base-url", "http://127.0.0.1:18080"))
const token = arg("token", ""),
  model = arg("model", "openclaw/default")
const N = +arg("sessions", 1),
  M = +arg("messages", 10),
  C = +arg("concurrency", N),
  W = +arg("warmup", 0)
const stream = arg("stream", "0") === "1",
  header = arg("session-header", ""),
  useUser = arg("user", "0") === "1",
  noSession = arg("no-session", "0") === "1"
const prefix = arg("session-prefix", `s${Date.now().toString(36)}`),
  off = +arg("session-offset", 0),
  text = arg("text", "hello, please answer briefly")
const timeoutMs = +arg("timeout-ms", 120000),
  pid = arg("pid", ""),
  path = arg("path", "/v1/chat/completions")
const agent = new http.Agent({ keepAlive: true, maxSockets: C, maxFreeSockets: C, scheduling: "lifo" })

// ---- process tree cpu + rss
const HZ = 100
export function tree(root) {
  const kids = {},
    st = {}
  for (const d of fs.readdirSync("/proc"))
    if (/^\d+$/.test(d))
      try {
        const t = fs.readFileSync(`/proc/${d}/stat`, "utf8"),
          f = t.slice(t.lastIndexOf(")") + 2).split(" ")
        ;(kids[f[1]] ??= []).push(d)
        st[d] = { cpu: (+f[11] + +f[12]) / HZ, reaped: (+f[13] + +f[14]) / HZ }
      } catch {}
  let cpu = 0,
    rss = 0,
    n = 0
  const todo = [String(root)]
  while (todo.length) {
    const p = todo.pop()
    if (!st[p]) continue
    n++
    cpu += st[p].cpu + st[p].reaped
    try {
      rss += +(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${p}/status`, "utf8"))?.[1] ?? 0)
    } catch {}
    todo.push(...(kids[p] ?? []))
  }
  return { cpu, rssMB: rss / 1024, procs: n }
}

// whole-machine busy CPU seconds (user+nice+sys+irq+softirq+steal); minus ours = other work on the machine
function sysBusy() {
  const f = fs.readFileSync("/proc/stat", "utf8").split("\n")[0].trim().split(/\s+/).slice(1).map(Number)
  return (f[0] + f[1] + f[2] + f[5] + f[6] + f[7]) / HZ
}

function one(key, k) {
  return new Promise((resolve) => {
    const body = Buffer.from(
      JSON.stringify({
        model,
        stream,
        ...(useUser && !noSession ? { user: key } : {}),
        messages: [{ role: "user", content: `${text} #${k}` }]
      })
    )
    const h = { "content-type": "application/json", "content-length": body.length }
    if (token) h.authorization = `Bearer ${token}`
    if (header && !noSession) h[header] = key
    const t0 = performance.now()
    let ttfb = 0,
      ttft = 0,
      chars = 0,
      chunks = 0,
      fin = false,
      doneMark = false
    const end = (err) => {
      if (fin) return
      fin = true
      resolve({ ms: performance.now() - t0, ttfb, ttft, chars, chunks, err })
    }
    const req = http.request(
      {
        host: base.hostname,
        port: base.port,
        path: (base.pathname === "/" ? "" : base.pathname) + path,
        method: "POST",
        headers: h,
        agent
      },
      (res) => {
        let buf = ""
        res.setEncoding("utf8")
        res.on("data", (d) => {
          if (!ttfb) ttfb = performance.now() - t0
          buf += d
          if (!stream) return
          let i
          while ((i = buf.indexOf("\n\n")) >= 0) {
            const line = buf
              .slice(0, i)
              .split("\n")
              .find((l) => l.startsWith("data:"))
            buf = buf.slice(i + 2)
            if (!line) continue
            const v = line.slice(5).trim()
            if (v === "[DONE]") {
              doneMark = true
              continue
            }
            try {
              const j = JSON.parse(v)
              if (j.error) return end(`sse-error ${JSON.stringify(j.error).slice(0, 160)}`)
              const c = j.choices?.[0]?.delta?.content
              if (c) {
                if (!ttft) ttft = performance.now() - t0
                chars += c.length
                chunks++
              }
            } catch {}
          }
        })
        res.on("end", () => {
          if (res.statusCode !== 200) return end(`http ${res.statusCode} ${buf.slice(0, 160)}`)
          if (stream) return end(doneMark && chars ? undefined : "incomplete stream")
          try {
            chars = JSON.parse(buf).choices[0].message.content.length
            end(chars ? undefined : "empty")
          } catch {
            end(`bad json ${buf.slice(0, 120)}`)
          }
        })
        res.on("error", (e) => end(String(e.message)))
      }
    )
    req.setNoDelay(true)
    req.setTimeout(timeoutMs, () => {
      req.destroy()
      end("timeout")
    })
    req.on("error", (e) => end(String(e.code ?? e.message)))
    req.end(body)
  })
}

const q = (a, p) => (a.length ? a[Math.min(a.length - 1, Math.ceil(p * a.length) - 1)] : NaN)
const r1 = (x) => Math.round(x * 100) / 100
const dist = (a) => {
  const s = [...a].sort((x, y) => x - y)
  return s.length
    ? {
        p50: r1(q(s, 0.5)),
        p95: r1(q(s, 0.95)),
        p99: r1(q(s, 0.99)),
        max: r1(s.at(-1)),
        mean: r1(s.reduce((x, y) => x + y, 0) / s.length)
      }
    : null
}

const results = []
async function pass(M, record, from) {
  let next = 0
  await Promise.all(
    Array.from({ length: Math.min(C, N) }, async () => {
      while (next < N) {
        const sidx = next++
        for (let k = 0; k < M; k++) {
          const r = await one(`${prefix}-${off + sidx}`, from + k)
          if (record) results.push(r)
        }
      }
    })
  )
}
if (W) await pass(W, false, 0)
const others = arg("other-pids", "").split(",").filter(Boolean),
  otherCpu = () => others.reduce((a, p) => a + tree(p).cpu, 0)
const before = pid ? tree(pid) : null,
  cpu0 = process.cpuUsage(),
  busy0 = sysBusy(),
  oth0 = otherCpu()
const t0 = performance.now()
let peak = 0
const tick = pid
  ? setInterval(() => {
      const m = tree(pid).rssMB
      if (m > peak) peak = m
    }, 500)
  : null
await pass(M, true, W)
const wall = (performance.now() - t0) / 1000
if (tick) clearInterval(tick)
const after = pid ? tree(pid) : null,
  cpu1 = process.cpuUsage(cpu0)
const busy = sysBusy() - busy0,
  oth = otherCpu() - oth0,
  self = (cpu1.user + cpu1.system) / 1e6
const ok = results.filter((r) => !r.err),
  errs = {}
for (const r of results) if (r.err) errs[r.err] = (errs[r.err] ?? 0) + 1
const out = {
  sessions: N,
  messages: M,
  concurrency: C,
  stream,
  total: results.length,
  ok: ok.length,
  errors: results.length - ok.length,
  ...(Object.keys(errs).length ? { errs } : {}),
  wall_s: r1(wall),
  rps: r1(ok.length / wall),
  latency_ms: dist(ok.map((r) => r.ms)),
  ...(stream
    ? {
        ttft_ms: dist(ok.map((r) => r.ttft)),
        ttfb_ms: dist(ok.map((r) => r.ttfb)),
        chunks_per_msg: r1(ok.reduce((a, r) => a + r.chunks, 0) / (ok.length || 1))
      }
    : {}),
  ...(pid
    ? {
        cpu_s: r1(after.cpu - before.cpu),
        cpu_ms_per_msg: r1(((after.cpu - before.cpu) * 1000) / (ok.length || 1)),
        rss_before_mb: r1(before.rssMB),
        rss_after_mb: r1(after.rssMB),
        rss_peak_mb: r1(Math.max(peak, after.rssMB)),
        procs: after.procs
      }
    : {}),
  other_pids_cpu_s: r1(oth),
  foreign_cores: r1(Math.max(0, busy - oth - self - (pid ? after.cpu - before.cpu : 0)) / wall),
  ...(arg("series", "0") === "1" ? { series_ms: results.map((r) => r1(r.ms)) } : {}),
  loadgen_cpu_s: r1((cpu1.user + cpu1.system) / 1e6)
}
console.log(JSON.stringify(out))
agent.destroy()
process.exit(0)
