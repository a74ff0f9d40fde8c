/** `[approval]`: how a person is asked before a tool is used. */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { wholeNumber, withDefault } from "#src/setting/schema.ts"
import type { Setting } from "#src/setting/Setting.ts"

export const ApprovalSettingsSchema = Schema.Struct({
  timeout_s: withDefault(
    wholeNumber(1),
    3600,
    "How long a call waits for an owner's decision before it counts as refused, seconds"
  )
})
export type ApprovalSettings = typeof ApprovalSettingsSchema.Type

export class ApprovalTimes extends Context.Service<ApprovalTimes, Setting<ApprovalSettings>>()(
  "opencraw/approval/ApprovalSettings/ApprovalTimes"
) {}
