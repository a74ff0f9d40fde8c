/**
 * `time.now`: what the clock says.
 *
 * Owns: the tool and its argument.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { decodeArguments } from "./arguments.ts"
import { layerRegister, type Tool, ToolError } from "./Tools.ts"

const decode = decodeArguments(Schema.Struct({ timezone: Schema.optionalKey(Schema.String) }))

export const timeNow: Tool = {
  spec: {
    name: "time.now",
    description: "The current date and time.",
    parameters: {
      type: "object",
      properties: {
        timezone: {
          type: "string",
          description: "IANA name such as Europe/Paris; without it the answer is in UTC"
        }
      },
      additionalProperties: false
    }
  },
  effects: "none",
  needsWorkspace: false,
  timeoutMillis: 1_000,
  run: Effect.fn("TimeTools.now")(function* (args) {
    const { timezone } = yield* decode(args)
    const now = yield* DateTime.now
    if (timezone === undefined) return `${DateTime.formatIso(now)} (UTC, ${weekday(now)})`
    // Offsets such as +02:00 parse too, but are not IANA names and know no summer time.
    const zone = /^[A-Za-z][A-Za-z0-9_+/-]{0,63}$/.test(timezone)
      ? DateTime.zoneMakeNamed(timezone)
      : Option.none()
    if (Option.isNone(zone)) {
      return yield* new ToolError({
        message: `timezone: "${timezone.slice(0, 64)}" is not an IANA time zone`
      })
    }
    const there = DateTime.setZone(now, zone.value)
    return `${DateTime.formatIsoZoned(there)} (${weekday(there)})`
  })
}

/** Registers `time.now`. */
export const layer = layerRegister([timeNow])

const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

const weekday = (time: DateTime.DateTime): string => days[DateTime.toParts(time).weekDay] ?? ""
