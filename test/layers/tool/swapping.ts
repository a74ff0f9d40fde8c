/** Swaps the folder `d` of a workspace for a link to a folder outside and back, in a thread of its own, as fast as it can. */
import { Worker } from "node:worker_threads"

/** `base/lure` is the link that takes the place of `root/d`. Resolves to what stops it, with `d` put back. */
export const startSwapping = async (base: string, root: string): Promise<() => Promise<void>> => {
  const isOn = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(source, { eval: true, workerData: { base, root, isOn } })
  await new Promise((resolve) => worker.once("online", resolve))
  return async () => {
    const ended = new Promise((resolve) => worker.once("exit", resolve))
    Atomics.store(isOn, 0, 1)
    await ended
  }
}

/** Stays in each state for a while that varies, so that a race is met at every point of an open call. */
const source = `
const { workerData: { base, root, isOn } } = require("node:worker_threads")
const { renameSync } = require("node:fs")
const { join } = require("node:path")
const stay = (micros) => { const until = performance.now() + micros / 1000; while (performance.now() < until); }
for (let round = 0; Atomics.load(isOn, 0) === 0; round++) {
  renameSync(join(root, "d"), join(base, "kept"))
  renameSync(join(base, "lure"), join(root, "d"))
  stay((round * 37) % 700)
  renameSync(join(root, "d"), join(base, "lure"))
  renameSync(join(base, "kept"), join(root, "d"))
  stay((round * 53) % 1900)
}
`
