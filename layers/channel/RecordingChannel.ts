/**
 * Channels that keep what they were given: for tests.
 *
 * Owns: `recording-keyed`, `recording-probe` and `recording-blind`, one of each delivery kind, and `recording-editing`, whose
 * messages can be changed; their ledger, and the failures a test orders. All of them show typing.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Channels from "#src/channel/Channels.ts"
import type { Route } from "#src/domain/Inbound.ts"

/** A message as its reader sees it, with all it said before. */
export interface Shown {
  readonly ref: string
  readonly texts: ReadonlyArray<string>
}

export class Recorded extends Context.Service<
  Recorded,
  {
    /** Parcels that reached their far side, oldest first. A keyed or probed repeat is not in it twice. */
    readonly parcels: () => ReadonlyArray<Channels.Parcel & { readonly channel: string; readonly at: number }>
    /** Messages that were posted to be changed, oldest first. */
    readonly shown: () => ReadonlyArray<Shown>
    /** When typing was shown, by channel, ms. */
    readonly typing: () => ReadonlyArray<{ readonly channel: string; readonly at: number }>
    /** The next send, post or change of this channel fails so. `arrives` says whether it reached the far side all the same. */
    readonly failNext: (channel: string, error: Channels.SendError, arrives: boolean) => void
  }
>()("opencraw/layers/channel/RecordingChannel/Recorded") {}

const kinds = ["keyed", "probe", "blind"] as const

export const layer = Layer.effect(
  Recorded,
  Effect.gen(function* () {
    const registry = yield* Channels.Channels
    const parcels: Array<Channels.Parcel & { readonly channel: string; readonly at: number }> = []
    const shown = new Map<string, Array<string>>()
    const typed: Array<{ readonly channel: string; readonly at: number }> = []
    const failures = new Map<
      string,
      Array<{ readonly error: Channels.SendError; readonly arrives: boolean }>
    >()

    /** Let `happen` happen unless a test ordered otherwise. */
    const attempt = Effect.fnUntraced(function* (channel: string, happen: Effect.Effect<void>) {
      const failure = failures.get(channel)?.shift()
      if (failure?.arrives !== false) yield* happen
      if (failure !== undefined) return yield* failure.error
    })

    const send = (channel: string, delivery: Channels.DeliveryKind) => (parcel: Channels.Parcel) => {
      const keep = Effect.map(Clock.currentTimeMillis, (at) => {
        const isKnown = delivery !== "blind" && parcels.some((one) => one.id === parcel.id)
        if (!isKnown) parcels.push({ ...parcel, channel, at })
      })
      return Effect.as(attempt(channel, keep), `receipt of ${parcel.id}`)
    }

    const typing = (channel: string) => (_route: Route) =>
      Effect.map(Clock.currentTimeMillis, (at) => void typed.push({ channel, at }))

    const editing = (channel: string): Channels.Editing => ({
      post: (_route, text) => {
        const ref = `post-${shown.size + 1}`
        return Effect.as(
          attempt(
            channel,
            Effect.sync(() => void shown.set(ref, [text]))
          ),
          ref
        )
      },
      change: (_route, ref, text) =>
        Effect.suspend(() => {
          const texts = shown.get(ref)
          if (texts === undefined)
            return Effect.fail(
              new Channels.SendError({ channel, kind: "permanent", detail: "no such message" })
            )
          return attempt(
            channel,
            Effect.sync(() => {
              if (texts.at(-1) !== text) texts.push(text)
            })
          )
        })
    })

    const channel = (name: string, delivery: Channels.DeliveryKind): Channels.Channel => ({
      name,
      delivery,
      maxChars: 4000,
      showsOutcomes: false,
      confirmsLater: false,
      send: send(name, delivery),
      typing: typing(name)
    })
    for (const delivery of kinds) yield* registry.register(channel(`recording-${delivery}`, delivery))
    const name = "recording-editing"
    yield* registry.register({ ...channel(name, "blind"), editing: editing(name) })

    return Recorded.of({
      parcels: () => [...parcels],
      shown: () => [...shown].map(([ref, texts]) => ({ ref, texts: [...texts] })),
      typing: () => [...typed],
      failNext: (name, error, arrives) => {
        failures.set(name, [...(failures.get(name) ?? []), { error, arrives }])
      }
    })
  })
)
