/** Spawn to first answer, of source and bundle, with and without compiled code of an earlier start. */
import { type Lab, type Provider } from "./Lab.ts"
import { foreignMeter } from "./Machine.ts"
import { median } from "./numbers.ts"
import type { Report } from "./Report.ts"
import type { Sizes } from "./sizes.ts"
import type { RowId } from "./targets.ts"
import { ask } from "./requests.ts"

export const measureStart = async (
  lab: Lab,
  provider: Provider,
  report: Report,
  sizes: Sizes
): Promise<void> => {
  const cache = lab.makeFolder("compiled")
  const variants: ReadonlyArray<{ id: RowId; main: "source" | "bundle"; compileCache?: string }> = [
    { id: "cold_source", main: "source" },
    { id: "cold_source_cached", main: "source", compileCache: cache },
    { id: "cold_bundle", main: "bundle" },
    { id: "cold_bundle_cached", main: "bundle", compileCache: cache }
  ]
  const samples = variants.map((variant) => ({
    ...variant,
    answered: [] as Array<number>,
    ready: [] as Array<number>,
    foreign: [] as Array<number>
  }))
  // One start that is not counted fills the cache; Node writes it at a clean exit.
  for (const { main, compileCache } of variants) {
    if (compileCache === undefined) continue
    const gateway = await lab.startGateway({ main, compileCache, provider })
    await ask(gateway, "first", "hello")
    await gateway.stop()
  }
  for (let round = 0; round < sizes.coldStarts; round++) {
    for (const sample of samples) {
      const { main, compileCache } = sample
      const foreign = foreignMeter()
      const began = performance.now()
      const gateway = await lab.startGateway({
        main,
        provider,
        ...(compileCache === undefined ? {} : { compileCache })
      })
      await ask(gateway, "first", "hello")
      sample.answered.push((performance.now() - began) / 1000)
      sample.foreign.push(foreign())
      sample.ready.push(gateway.readyMs / 1000)
      await gateway.stop()
    }
  }
  for (const { id, answered, ready, foreign } of samples) {
    report.add(id, {
      value: median(answered),
      rounds: answered,
      foreignCores: median(foreign),
      details: { ready_s: median(ready) }
    })
  }
}
