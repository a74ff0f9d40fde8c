/**
 * The providers with those of their keys that are kept as stored credentials (`api_key_stored`).
 *
 * Owns: when such a key is read: at the start, after each change here, and every minute for what another gateway changed.
 * Does not own: the credentials (`Credentials`), nor how a provider is found (`model`).
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { type CheckResult, Checks } from "#src/check/Checks.ts"
import { Providers, type ProviderSettings } from "#src/model/ProviderSettings.ts"
import { Credentials } from "./Credentials.ts"

type ProviderMap = Readonly<Record<string, ProviderSettings>>
/** What a name opened to, or why it did not. */
type Found = { readonly key: Redacted.Redacted } | { readonly problem: string }

const every = "1 minute"

/** The names that providers and their profiles have their keys under. */
export const namesIn = (providers: ProviderMap): ReadonlyArray<string> => [
  ...new Set(
    Object.values(providers).flatMap(({ api_key_stored, profiles = {} }) =>
      [api_key_stored, ...Object.values(profiles).map((profile) => profile.api_key_stored)].filter(
        (name) => name !== undefined
      )
    )
  )
]

const withKey = <A extends Pick<ProviderSettings, "api_key" | "api_key_stored">>(
  settings: A,
  found: ReadonlyMap<string, Found>
): A => {
  const one = settings.api_key_stored === undefined ? undefined : found.get(settings.api_key_stored)
  return one !== undefined && "key" in one ? { ...settings, api_key: one.key } : settings
}

/** Providers that have no stored key stay the same objects: what is made of them is kept by their identity. */
const withKeys = (providers: ProviderMap, found: ReadonlyMap<string, Found>): ProviderMap =>
  Object.fromEntries(
    Object.entries(providers).map(([name, settings]) => {
      if (namesIn({ [name]: settings }).length === 0) return [name, settings]
      const profiles =
        settings.profiles === undefined
          ? {}
          : {
              profiles: Object.fromEntries(
                Object.entries(settings.profiles).map(([profile, own]) => [profile, withKey(own, found)])
              )
            }
      return [name, { ...withKey(settings, found), ...profiles }]
    })
  )

const isSame = (a: Found | undefined, b: Found): boolean =>
  a !== undefined &&
  ("key" in a
    ? "key" in b && Redacted.value(a.key) === Redacted.value(b.key)
    : "problem" in b && a.problem === b.problem)

export const make = Effect.gen(function* () {
  const configured = yield* Providers
  const names = namesIn(configured.get())
  // Without any, the start asks the store for nothing.
  if (names.length === 0) return configured
  const credentials = yield* Credentials
  let found: ReadonlyMap<string, Found> = new Map()
  const ref = yield* SubscriptionRef.make(configured.get())

  const find = (name: string) =>
    credentials.open(name).pipe(
      Effect.map((key): Found =>
        key === undefined ? { problem: `there is none: opencraw credentials set ${name}` } : { key }
      ),
      Effect.catchTags({
        SecretsError: ({ message }) => Effect.succeed<Found>({ problem: message }),
        // The store is away: what is known stays.
        CentralError: ({ message }) => Effect.succeed<Found>(found.get(name) ?? { problem: message })
      })
    )

  const refresh = Effect.gen(function* () {
    const now = new Map(
      yield* Effect.forEach(names, (name) => Effect.map(find(name), (one) => [name, one] as const))
    )
    if (names.every((name) => isSame(found.get(name), now.get(name)!))) return
    found = now
    for (const [name, one] of found) {
      if ("problem" in one) {
        yield* Effect.logWarning("a stored credential cannot be used", one.problem).pipe(
          Effect.annotateLogs({ name })
        )
      }
    }
    yield* SubscriptionRef.set(ref, withKeys(configured.get(), found))
  })

  yield* refresh
  const wishes = yield* Queue.sliding<void>(1)
  const offChange = credentials.onChange(() => void Queue.offerUnsafe(wishes, undefined))
  yield* Effect.addFinalizer(() => Effect.sync(offChange))
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Queue.take(wishes), refresh)))
  yield* Effect.forkScoped(Effect.delay(Effect.repeat(refresh, Schedule.spaced(every)), every))

  const check = Effect.sync((): CheckResult => {
    const wrong = [...found].flatMap(([name, one]) => ("problem" in one ? [`${name}: ${one.problem}`] : []))
    return wrong.length === 0
      ? { status: "ok", message: "every credential that a provider names is there" }
      : { status: "failed", message: wrong.join("\n") }
  })
  yield* (yield* Checks).register({ name: "stored keys", run: check })

  return { get: () => SubscriptionRef.getUnsafe(ref), changes: SubscriptionRef.changes(ref) }
})

/** `Providers` above these settings. Registers the check `stored keys` when a provider has one. */
export const layer = Layer.effect(Providers, make)
