/**
 * A change to a document, as a document (RFC 7396): tables merge, `null` deletes, everything else replaces.
 *
 * Owns: the rule. Keys that could reach an object's prototype are ignored, at every depth of tables.
 */
import * as Predicate from "effect/Predicate"
import { isUnsafeKey } from "./decodeStrict.ts"

/** `base` with `patch` applied, as a new value; neither is changed. */
export const mergePatch = (base: unknown, patch: unknown): unknown => {
  if (!isTable(patch)) return patch
  const merged = new Map<string, unknown>(isTable(base) ? Object.entries(base) : [])
  for (const [key, value] of Object.entries(patch)) {
    if (isUnsafeKey(key)) continue
    if (value === null) merged.delete(key)
    else merged.set(key, mergePatch(merged.get(key), value))
  }
  return Object.fromEntries(merged)
}

const isTable = (value: unknown): value is Readonly<Record<string, unknown>> =>
  Predicate.isReadonlyObject(value) && !(value instanceof Date)
