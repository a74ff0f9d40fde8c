/**
 * A value that an operator sets, and its changes.
 *
 * Owns: the shape every room's settings service has.
 * Does not own: files, environment or validation; `layers/platform/Settings.ts` does.
 * A room exports the Schema of its settings and a service of this shape; `System` joins the schemas.
 */
import type * as Stream from "effect/Stream"

export interface Setting<A> {
  /** The value now. Cheap: read it where it is used, never keep it. */
  readonly get: () => A
  /** The value now and after every change. */
  readonly changes: Stream.Stream<A>
}
