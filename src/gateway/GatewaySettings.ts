/** `[gateway]`: the one port and who may use it. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { secret, wholeNumber, withDefault } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"

export const GatewaySettingsSchema = Schema.Struct({
  bind: withDefault(
    Schema.Literals(["loopback", "lan"]),
    "loopback",
    "loopback: this machine only; lan: every interface"
  ),
  port: withDefault(
    Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 65_535 })),
    3000,
    "TCP port; 0 takes any free one"
  ),
  token: Schema.optionalKey(secret("gateway.token")).annotate({
    description: "Bearer token of the operator. Without it, dev makes one and keeps it in the data directory"
  }),
  allowed_hosts: withDefault(
    Schema.Array(Schema.String),
    [],
    "Host names (besides localhost and the bound address) that requests may be addressed to, and browsers may come from"
  ),
  max_body_bytes: withDefault(
    wholeNumber(1024),
    1_048_576,
    "Largest request body or WebSocket message, bytes"
  ),
  max_image_bytes: withDefault(
    wholeNumber(0),
    5_242_880,
    "Most bytes of the images of one message; they count beside max_body_bytes"
  ),
  wait_limit_s: withDefault(
    wholeNumber(1),
    600,
    "Longest time a plain request waits for its answer, seconds"
  ),
  shutdown_grace_s: withDefault(wholeNumber(0), 20, "Time that running work gets on SIGTERM, seconds")
})
export type GatewaySettings = typeof GatewaySettingsSchema.Type

export class Gateway extends Context.Service<Gateway, Setting<GatewaySettings>>()(
  "opencraw/gateway/GatewaySettings/Gateway"
) {}
