// node coldstart.mjs --port 18789 [--pre "rm -rf ..."] [--settle 15] [--msg 1] -- cmd args...   : spawn -> /health 200 -> /readyz 200, CPU and RSS of the process tree; then the first message, then SIGTERM
import http from "node:http"
import fs from "node:fs"
import { spawn, execSync } from "node:child_process"
import { performance } from "node:perf_hooks"
const dd = process.argv.indexOf("--")
const A = (n, d) => {
  const i = process.argv.indexOf(`--${n}`)
  return i > 0 && i < dd ? process.argv[i + 1] : d
}
const port = +A("port", 18789),
  settle = +A("settle", 10),
  cmd = process.argv.slice(dd + 1),
  token = A("token", ""),
  ready = A("ready", "/readyz"),
  hp = A("health", "/health")
const busy = () => {
  const f = fs.readFileSync("/proc/stat", "utf8").split("\n")[0].trim().split(/\s+/).slice(1).map(Number)
  return (f[0] + f[1] + f[2] + f[5] + f[6] + f[7]) / 100
}
function tree(root) {
  const kids = {},
    st = {}
  for (const d of fs.readdirSync("/proc"))
    if (/^\d+$/.test(d))
      try {
        const t = fs.readFileSync(`/proc/${d}/stat`, "utf8"),
          f = t.slice(t.lastIndexOf(")") + 2).split(" ")
        ;(kids[f[1]] ??= []).push(d)
        st[d] = (+f[11] + +f[12] + +f[13] + +f[14]) / 100
      } catch {}
  let cpu = 0,
    rss = 0,
    pss = 0,
    n = 0
  const todo = [String(root)]
  while (todo.length) {
    const p = todo.pop()
    if (st[p] === undefined) continue
    n++
    cpu += st[p]
    try {
      rss += +(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${p}/status`, "utf8"))?.[1] ?? 0)
      pss += +(/^Pss:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${p}/smaps_rollup`, "utf8"))?.[1] ?? 0)
    } catch {}
    todo.push(...(kids[p] ?? []))
  }
  return {
    cpu: Math.round(cpu * 100) / 100,
    rssMB: Math.round(rss / 1024),
    pssMB: Math.round(pss / 1024),
    procs: n
  }
}
const get = (path) =>
  new Promise((r) => {
    const q = http.get({ host: "127.0.0.1", port, path, timeout: 2000, agent: false }, (res) => {
      res.resume()
      res.on("end", () => r(res.statusCode))
    })
    q.on("error", () => r(0))
    q.on("timeout", () => {
      q.destroy()
      r(0)
    })
  })
const sleep = (ms) => new Promise((r) => setTimeout(r, ms))
if (A("pre")) execSync(A("pre"))
const log = fs.openSync(A("log", "/dev/null"), "w"),
  b0 = busy(),
  t0 = performance.now()
const p = spawn(cmd[0], cmd.slice(1), { stdio: ["ignore", log, log] })
const el = () => Math.round(performance.now() - t0)
let health = 0,
  rdy = 0,
  out = {}
while (!health && el() < 120000) {
  if ((await get(hp)) === 200) health = el()
  else await sleep(10)
}
out.health_ms = health
out.cpu_at_health_s = tree(p.pid).cpu
while (!rdy && el() < 120000) {
  if ((await get(ready)) === 200) rdy = el()
  else await sleep(10)
}
const at = tree(p.pid)
out.ready_ms = rdy
out.cpu_at_ready_s = at.cpu
out.rss_at_ready_mb = at.rssMB
out.foreign_cores = Math.round(((busy() - b0 - at.cpu) / (rdy / 1000)) * 100) / 100
await sleep(settle * 1000)
const idle = tree(p.pid)
out.rss_idle_mb = idle.rssMB
out.pss_idle_mb = idle.pssMB
out.procs = idle.procs
out.cpu_after_settle_s = idle.cpu
if (A("msg"))
  for (let i = 0; i < +A("msg"); i++) {
    const m0 = performance.now()
    const r = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
      body: JSON.stringify({
        model: A("model", "openclaw/default"),
        user: `cold-${process.pid}`,
        messages: [{ role: "user", content: "hello" }]
      })
    })
    await r.text()
    ;(out.first_msgs_ms ??= []).push(Math.round(performance.now() - m0))
    if (r.status !== 200) out.err = r.status
  }
const k0 = performance.now()
p.kill("SIGTERM")
await new Promise((r) =>
  p.on("exit", (c, s) => {
    out.exit = c ?? s
    r()
  })
)
out.stop_ms = Math.round(performance.now() - k0)
console.log(JSON.stringify(out))
process.exit(0)
