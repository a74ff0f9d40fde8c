/**
 * Channels that keep what they were given, one of each delivery kind: for tests.
 *
 * Owns: `recording-keyed`, `recording-probe` and `recording-blind`, their ledger, and the failures a test orders.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Channels from "#src/channel/Channels.ts"

export class Recorded extends Context.Service<
  Recorded,
  {
    /** Parcels that reached their far side, oldest first. A keyed or probed repeat is not in it twice. */
    readonly parcels: () => ReadonlyArray<Channels.Parcel & { readonly channel: string }>
    /** The next send of this channel fails so. `arrives` says whether it reached the far side all the same. */
    readonly failNext: (channel: string, error: Channels.SendError, arrives: boolean) => void
  }
>()("opencraw/layers/channel/RecordingChannel/Recorded") {}

const kinds = ["keyed", "probe", "blind"] as const

export const layer = Layer.effect(
  Recorded,
  Effect.gen(function* () {
    const registry = yield* Channels.Channels
    const parcels: Array<Channels.Parcel & { readonly channel: string }> = []
    const failures = new Map<
      string,
      Array<{ readonly error: Channels.SendError; readonly arrives: boolean }>
    >()

    const send = (channel: string, delivery: Channels.DeliveryKind) =>
      Effect.fnUntraced(function* (parcel: Channels.Parcel) {
        const failure = failures.get(channel)?.shift()
        const isKnown = delivery !== "blind" && parcels.some((one) => one.id === parcel.id)
        if (!isKnown && failure?.arrives !== false) parcels.push({ ...parcel, channel })
        if (failure !== undefined) return yield* failure.error
        return `receipt of ${parcel.id}`
      })

    for (const delivery of kinds) {
      const name = `recording-${delivery}`
      yield* registry.register({
        name,
        delivery,
        maxChars: 4000,
        showsOutcomes: false,
        confirmsLater: false,
        send: send(name, delivery)
      })
    }
    return Recorded.of({
      parcels: () => [...parcels],
      failNext: (channel, error, arrives) => {
        failures.set(channel, [...(failures.get(channel) ?? []), { error, arrives }])
      }
    })
  })
)
