/**
 * `npm run bench -- durable`: what it costs that nothing acknowledged is lost, and what group commit and the sync off the thread change.
 *
 * First the log alone, the variants in turn, each in a process of its own; then messages over HTTP to a gateway whose provider hangs, so
 * that only accepting is measured; then the restart with 10,000 open rows.
 */
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import process from "node:process"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { cleanEnvironment, type Lab, root } from "../Lab.ts"
import { foreignMeter, noisyCores } from "../Machine.ts"
import { measureRestart } from "../measureRestart.ts"
import { median, percentile, round } from "../numbers.ts"
import { Report } from "../Report.ts"
import { request } from "../requests.ts"
import type { Sizes } from "../sizes.ts"
import { type Variant, variants } from "./variants.ts"

const senderCounts = [1, 32, 256] as const
const tooLong = 3_600_000

interface Cell {
  readonly per_second: number
  readonly ack_p50_ms: number
  readonly ack_p99_ms: number
  readonly loop_delay_p99_ms: number
  readonly cpu_us?: number
}

const worker = fileURLToPath(import.meta.resolve("./worker.ts"))
const names = Object.keys(variants) as ReadonlyArray<Variant>

const logAlone = (lab: Lab, report: Report, { rounds, seconds }: Amount) => {
  const cells = new Map<string, Array<Cell>>()
  for (let turn = 0; turn < rounds; turn++) {
    for (const senders of senderCounts) {
      for (const name of names) {
        const args = [worker, name, String(senders), String(seconds), lab.makeFolder("log")]
        const done = spawnSync(process.execPath, args, {
          cwd: root,
          env: cleanEnvironment(),
          encoding: "utf8"
        })
        if (done.status !== 0) throw new Error(`${name} failed: ${done.stderr.slice(-2000)}`)
        const cell: Cell = JSON.parse(done.stdout)
        const key = `${name} ${senders}`
        cells.set(key, [...(cells.get(key) ?? []), cell])
        report.step(`the log, ${senders} senders, ${name}: ${round(cell.per_second)} acknowledged per second`)
      }
    }
  }
  const middle = (name: Variant, senders: number): Cell => {
    const all = cells.get(`${name} ${senders}`) ?? []
    const of = (pick: (cell: Cell) => number) => round(median(all.map(pick)))
    return {
      per_second: of((cell) => cell.per_second),
      ack_p50_ms: of((cell) => cell.ack_p50_ms),
      ack_p99_ms: of((cell) => cell.ack_p99_ms),
      loop_delay_p99_ms: of((cell) => cell.loop_delay_p99_ms),
      cpu_us: of((cell) => cell.cpu_us ?? NaN)
    }
  }
  return Object.fromEntries(
    names.map((name) => [
      name,
      Object.fromEntries(senderCounts.map((senders) => [senders, middle(name, senders)]))
    ])
  )
}

interface Amount {
  readonly rounds: number
  readonly seconds: number
}

/** Messages that are acknowledged over HTTP while no answer comes. A session takes ten, below its cap. */
const overHttp = async (lab: Lab, report: Report, senders: number, seconds: number): Promise<Cell> => {
  const provider = await lab.startProvider()
  await provider.configure({ ttftMs: tooLong })
  const { gateway, file } = await lab.startObserved({ main: "source", provider })
  const latencies: Array<number> = []
  const seen = { counts: false, stop: false }
  const send = async (sender: number) => {
    for (let count = 0; !seen.stop; count++) {
      const from = performance.now()
      const { status, text } = await request(`${gateway.url}/api/v1/os/messages/send`, "POST", {
        session_key: `sender-${sender}-${Math.floor(count / 10)}`,
        content: "hello, please answer briefly"
      })
      if (status !== 202) throw new Error(`a message was not accepted: ${status} ${text.slice(0, 200)}`)
      if (seen.counts) latencies.push(performance.now() - from)
    }
  }
  const all = Promise.all(Array.from({ length: senders }, (_, sender) => send(sender)))
  await Promise.race([sleep(1500), all])
  process.kill(gateway.pid, "SIGUSR2")
  seen.counts = true
  await Promise.race([sleep(seconds * 1000), all])
  seen.counts = false
  process.kill(gateway.pid, "SIGUSR2")
  seen.stop = true
  await all
  await sleep(200)
  const delay: { readonly ms: { readonly p99: number } } = JSON.parse(readFileSync(file, "utf8"))
  await gateway.stop("SIGKILL")
  await provider.stop("SIGKILL")
  const cell = {
    per_second: round(latencies.length / seconds),
    ack_p50_ms: round(percentile(latencies, 0.5)),
    ack_p99_ms: round(percentile(latencies, 0.99)),
    loop_delay_p99_ms: round(delay.ms.p99)
  }
  report.step(`over HTTP, ${senders} senders: ${cell.per_second} acknowledged per second`)
  return cell
}

/** The exit code: 1 when something did not run. */
export const benchDurable = async (
  lab: Lab,
  isQuick: boolean,
  sizes: Sizes,
  about: Readonly<Record<string, unknown>>
): Promise<number> => {
  const report = new Report()
  const amount = isQuick ? { rounds: 1, seconds: 0.5 } : { rounds: 3, seconds: 3 }
  const foreign = foreignMeter()
  const alone = logAlone(lab, report, amount)
  const http: Record<number, Cell> = {}
  for (const senders of senderCounts) http[senders] = await overHttp(lab, report, senders, amount.seconds)
  const foreignCores = foreign()
  await measureRestart(lab, await lab.startProvider(), report, sizes).catch((cause: unknown) =>
    report.fail("restart", cause)
  )
  const line = (name: string, senders: number, cell: Cell | undefined) =>
    `${name.padEnd(20)} ${String(senders).padStart(4)} senders  ${String(cell?.per_second).padStart(7)}/s  ack ${cell?.ack_p50_ms} / ${cell?.ack_p99_ms} ms  loop ${cell?.loop_delay_p99_ms} ms${cell?.cpu_us === undefined ? "" : `  ${cell.cpu_us} us CPU`}\n`
  for (const senders of senderCounts) {
    for (const name of names) process.stderr.write(line(name, senders, alone[name]?.[senders]))
    process.stderr.write(line("over HTTP", senders, http[senders]))
  }
  process.stderr.write("ack and loop delay: p50 / p99 and p99\n")
  report.printTable()
  process.stdout.write(
    `${report.toJson({ ...about, log_alone: alone, over_http: http, foreign_cores: round(foreignCores), noisy: foreignCores > noisyCores })}\n`
  )
  return report.hasFailed ? 1 : 0
}
