/**
 * Measures the event loop of the process it is imported into (`node --import`): SIGUSR2 starts, the next one writes to the
 * file that OPENCRAW_BENCH_LOOP_DELAY names: `{ms: {p50, p99, max}, samples}`, how late a 10 ms timer was.
 */
import fs from "node:fs"
import { monitorEventLoopDelay } from "node:perf_hooks"
import process from "node:process"

const resolution = 10
const histogram = monitorEventLoopDelay({ resolution })
// A sample is the time between two ticks of the timer, so what is above its period is delay.
const late = (fraction) => Math.max(0, histogram.percentile(fraction) / 1e6 - resolution)
let counts = false

process.on("SIGUSR2", () => {
  counts = !counts
  if (counts) {
    histogram.reset()
    histogram.enable()
    return
  }
  histogram.disable()
  const file = process.env.OPENCRAW_BENCH_LOOP_DELAY
  const ms = { p50: late(50), p99: late(99), max: late(100) }
  // Renamed into place, so that a reader never sees half of it.
  fs.writeFileSync(`${file}.part`, JSON.stringify({ ms, samples: histogram.count }))
  fs.renameSync(`${file}.part`, file)
})
