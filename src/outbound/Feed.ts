/**
 * What a session's onlookers see while it happens.
 *
 * Owns: the live listeners of each session. Nothing is kept: who comes late reads the log.
 * Does not own: durable delivery (`Outbound`).
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import type { SessionEvent } from "#src/domain/SessionEvent.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"

export class Feed extends Context.Service<
  Feed,
  {
    /** Tell every listener of the session, in this very turn and in order of subscription. Costs nothing without listeners. */
    readonly publish: (session: SessionKey, event: SessionEvent) => void
    /** Listen until the returned function is called. A listener must be quick and must not throw. */
    readonly subscribe: (session: SessionKey, listener: (event: SessionEvent) => void) => () => void
    /** True while somebody listens. */
    readonly hasListeners: (session: SessionKey) => boolean
    /** The sessions that somebody listens to. */
    readonly listened: () => Iterable<SessionKey>
  }
>()("opencraw/outbound/Feed") {}

export const layer = Layer.sync(Feed, () => {
  const bySession = new Map<SessionKey, Set<(event: SessionEvent) => void>>()
  return Feed.of({
    publish: (session, event) => {
      const listeners = bySession.get(session)
      if (listeners === undefined) return
      for (const listener of listeners) listener(event)
    },
    subscribe: (session, listener) => {
      let listeners = bySession.get(session)
      if (listeners === undefined) bySession.set(session, (listeners = new Set()))
      listeners.add(listener)
      return () => {
        listeners.delete(listener)
        if (listeners.size === 0 && bySession.get(session) === listeners) bySession.delete(session)
      }
    },
    hasListeners: (session) => bySession.has(session),
    listened: () => bySession.keys()
  })
})
