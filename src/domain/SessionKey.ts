/**
 * The name of a session, in the one canonical spelling: `agent:<agent>:<rest>`.
 */
import * as Schema from "effect/Schema"

export const SessionKey = Schema.String.pipe(Schema.brand("SessionKey"))
export type SessionKey = typeof SessionKey.Type
