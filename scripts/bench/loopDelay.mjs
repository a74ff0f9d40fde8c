/**
 * Measures the event loop of the process it is imported into (`node --import`): SIGUSR2 starts, the next one writes to the
 * file that OPENCRAW_BENCH_LOOP_DELAY names: `{ms: {p50, p99, max}, samples, live_heap_mb: {start, end}}`: how late a 10 ms timer was, and what
 * of the heap was alive at both signals, garbage collected.
 */
import fs from "node:fs"
import { monitorEventLoopDelay } from "node:perf_hooks"
import process from "node:process"
import v8 from "node:v8"
import vm from "node:vm"

const resolution = 10
const histogram = monitorEventLoopDelay({ resolution })
// A sample is the time between two ticks of the timer, so what is above its period is delay.
const late = (fraction) => Math.max(0, histogram.percentile(fraction) / 1e6 - resolution)
let counts = false
let start = 0

v8.setFlagsFromString("--expose-gc")
const collect = vm.runInNewContext("gc")
const liveMb = () => {
  collect()
  return process.memoryUsage().heapUsed / 1024 / 1024
}

process.on("SIGUSR2", () => {
  counts = !counts
  if (counts) {
    start = liveMb()
    histogram.reset()
    histogram.enable()
    return
  }
  histogram.disable()
  const file = process.env.OPENCRAW_BENCH_LOOP_DELAY
  const ms = { p50: late(50), p99: late(99), max: late(100) }
  // Renamed into place, so that a reader never sees half of it.
  fs.writeFileSync(
    `${file}.part`,
    JSON.stringify({ ms, samples: histogram.count, live_heap_mb: { start, end: liveMb() } })
  )
  fs.renameSync(`${file}.part`, file)
})
