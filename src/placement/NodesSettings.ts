/** `[nodes]`: several gateways on one database. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { withDefault } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"

export const NodesSettingsSchema = Schema.Struct({
  enabled: withDefault(
    Schema.Boolean,
    false,
    "This gateway is one of several that share a database and its sessions; set it on all of them. Prod only"
  ),
  name: Schema.optionalKey(
    Schema.String.check(Schema.isPattern(/^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$/))
  ).annotate({
    description: "What this node is called in logs and lists; the host's name unless it is set"
  })
})
export type NodesSettings = typeof NodesSettingsSchema.Type

export class Nodes extends Context.Service<Nodes, Setting<NodesSettings>>()(
  "opencraw/placement/NodesSettings/Nodes"
) {}
