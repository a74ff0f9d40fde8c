/**
 * How far V8 lets garbage grow before it collects it.
 *
 * Left alone, V8 lets the old generation become several times as large as what lives in it: 10,000 messages left 80 MB of garbage around
 * 37 MB. This is no cap: a gateway that needs more gets it, and what it needs may double before the next collection. It costs a few
 * percent of CPU (docs/benchmarks.md).
 */
import process from "node:process"
import v8 from "node:v8"

const growing = "--heap-growing-percent"

/** Unless the operator has told Node otherwise. */
export const growSlowly = (): void => {
  const told = [...process.execArgv, process.env["NODE_OPTIONS"] ?? ""].join(" ").replaceAll("_", "-")
  if (!told.includes(growing)) v8.setFlagsFromString(`${growing}=100`)
}
