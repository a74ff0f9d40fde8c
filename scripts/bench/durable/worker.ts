/**
 * The log alone, in a process of its own: `worker.ts VARIANT SENDERS SECONDS FOLDER`. Prints one JSON line.
 *
 * The variants are made here and nowhere else: the adapter under them is the one that ships.
 */
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Semaphore from "effect/Semaphore"
import { fdatasync, fdatasyncSync } from "node:fs"
import { join } from "node:path"
import { monitorEventLoopDelay } from "node:perf_hooks"
import process from "node:process"
import * as SqliteMessageLog from "#layers/horizons/SqliteMessageLog.ts"
import * as Checks from "#src/check/Checks.ts"
import { messageId } from "#src/domain/Ids.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import { type Accept, MessageLog } from "#src/horizons/MessageLog.ts"
import { percentile } from "../numbers.ts"
import { type Variant, variants } from "./variants.ts"

const [name = "", senderCount = "1", seconds = "1", folder = "."] = process.argv.slice(2)
if (!Object.hasOwn(variants, name)) throw new Error(`there is no variant ${name}`)
const variant = name as Variant

const sync = (fd: number, done: (error: unknown) => void): void => {
  switch (variant) {
    case "as it ships":
    case "one unit a commit":
      return fdatasync(fd, done)
    case "sync on the loop":
      fdatasyncSync(fd)
      return done(null)
    case "no sync":
      return void setImmediate(done, null)
  }
}

const unitOf = (sender: number, count: number): Accept => {
  const session = `agent:main:sender-${sender}` as SessionKey
  return {
    _tag: "Accept",
    place: { tenant: local, agent: "main", session },
    messageId: messageId(`msg_${sender}_${count}`),
    message: {
      identity: {
        channel: "bench",
        account: "",
        conversation: session,
        thread: "",
        externalId: String(count),
        revision: 1
      },
      session,
      ephemeral: false,
      sender: "bench",
      access: "owner",
      body: { text: "hello, please answer briefly", queue: { mode: "followup", debounceMs: 0 } }
    },
    cap: Number.MAX_SAFE_INTEGER,
    drop: "new",
    at: Date.now()
  }
}

const senders = Number(senderCount)
const runtime = ManagedRuntime.make(
  SqliteMessageLog.layerFile({ filename: join(folder, "log.db"), sync }).pipe(Layer.provide(Checks.layer))
)
const log = await runtime.runPromise(MessageLog)
const alone = Semaphore.makeUnsafe(1)
const commit = (unit: Accept) =>
  variant === "one unit a commit" ? Semaphore.withPermit(alone, log.commit(unit)) : log.commit(unit)

const seen = { counts: false, stop: false }
const latencies: Array<number> = []
const send = async (sender: number) => {
  for (let count = 0; !seen.stop; count++) {
    const from = performance.now()
    await runtime.runPromise(commit(unitOf(sender, count)))
    if (seen.counts) latencies.push(performance.now() - from)
  }
}
const resolution = 5
const histogram = monitorEventLoopDelay({ resolution })
const all = Array.from({ length: senders }, (_, sender) => send(sender))
await new Promise((resolve) => setTimeout(resolve, 500))
seen.counts = true
histogram.enable()
const cpuBefore = process.cpuUsage()
const began = performance.now()
await new Promise((resolve) => setTimeout(resolve, Number(seconds) * 1000))
seen.counts = false
const wall = (performance.now() - began) / 1000
const { user, system } = process.cpuUsage(cpuBefore)
histogram.disable()
seen.stop = true
await Promise.all(all)
await runtime.dispose()
process.stdout.write(
  `${JSON.stringify({
    per_second: latencies.length / wall,
    ack_p50_ms: percentile(latencies, 0.5),
    ack_p99_ms: percentile(latencies, 0.99),
    loop_delay_p99_ms: Math.max(0, histogram.percentile(99) / 1e6 - resolution),
    cpu_us: (user + system) / latencies.length
  })}\n`
)
