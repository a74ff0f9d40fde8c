/**
 * Kills this process at a named moment, when `OPENCRAW_FAILPOINT=name[:count]` asks for it: at its `count`th passing.
 *
 * For tests of durability only; without the variable there is no hook at all.
 */
import * as Layer from "effect/Layer"
import { Failpoint } from "#src/domain/Failpoint.ts"

/** `ordered` is the variable's value. */
export const layer = (ordered: string | undefined = process.env["OPENCRAW_FAILPOINT"]) => {
  if (ordered === undefined || ordered === "") return Layer.empty
  const [name, count = "1"] = ordered.split(":")
  let left = Number(count)
  return Layer.succeed(Failpoint, (passed) => {
    if (passed !== name) return
    left--
    // Nothing may run after this line: no finalizer, no flush.
    if (left === 0) process.kill(process.pid, "SIGKILL")
  })
}
