/**
 * Credentials that are kept for the gateway's own use, such as the keys of providers: set, listed without their value, opened.
 *
 * Owns: that a credential is sealed for its own name and tenant, and that all are sealed anew with a new key.
 * Does not own: sealing (`Secrets`), what is stored (`CentralDb`), or who uses one (`StoredKeys`).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import { type CheckResult, Checks } from "#src/check/Checks.ts"
import { local, type Tenant } from "#src/domain/Tenant.ts"
import { CentralDb, type CentralError, type CredentialRow } from "#src/horizons/CentralDb.ts"
import { Secrets, type SecretsError } from "#src/horizons/Secrets.ts"
import { Audit } from "./Audit.ts"

export class Credentials extends Context.Service<
  Credentials,
  {
    /** Set it, whether it was there or not. Refused with `NoSecretsKey`. */
    readonly set: (
      name: string,
      value: Redacted.Redacted,
      actor: string
    ) => Effect.Effect<void, CentralError | SecretsError>
    /** By name, sealed. */
    readonly list: (page: {
      readonly after?: string
      readonly limit: number
    }) => Effect.Effect<ReadonlyArray<CredentialRow>, CentralError>
    /** Refused with `NoSuchCredential`. */
    readonly remove: (name: string, actor: string) => Effect.Effect<void, CentralError>
    /** Undefined when there is none. */
    readonly open: (name: string) => Effect.Effect<Redacted.Redacted | undefined, CentralError | SecretsError>
    /** Seal with the present key what an older one sealed. Gives how many; all before the first that cannot be opened stay done. */
    readonly rotate: (actor: string) => Effect.Effect<number, CentralError | SecretsError>
    /** Told after each change made here. Gives what ends it. */
    readonly onChange: (listener: () => void) => () => void
  }
>()("opencraw/access/Credentials") {}

const pageSize = 200

const placeOf = ({ org, project }: Tenant, name: string) => ["credential", org, project, name]

export const make = Effect.gen(function* () {
  const db = yield* CentralDb
  const secrets = yield* Secrets
  const audit = yield* Audit
  const listeners = new Set<() => void>()
  const changed = Effect.sync(() => {
    for (const listener of listeners) listener()
  })

  const list = (page: { readonly after?: string; readonly limit: number }) =>
    db.credentials({ tenant: local, ...page })

  const opened = ({ tenant, name, sealed }: CredentialRow) => secrets.open(sealed, placeOf(tenant, name))

  const put = Effect.fnUntraced(function* (
    name: string,
    value: Redacted.Redacted,
    told: { readonly actor: string; readonly action: "credential.set" | "credential.rotated" },
    revision?: number
  ) {
    const sealed = yield* secrets.seal(value, placeOf(local, name))
    const at = yield* Clock.currentTimeMillis
    const event = yield* audit.eventOf({ ...told, subject: name, detail: { key_id: sealed.keyId } })
    yield* db.putCredential(
      { tenant: local, name, sealed, at, ...(revision === undefined ? {} : { revision }) },
      event
    )
  })

  /** Each of them, page by page. */
  const forEach = Effect.fnUntraced(function* <E>(use: (row: CredentialRow) => Effect.Effect<void, E>) {
    let page = yield* list({ limit: pageSize })
    while (true) {
      for (const row of page) yield* use(row)
      const last = page.at(-1)
      if (last === undefined || page.length < pageSize) return
      page = yield* list({ after: last.name, limit: pageSize })
    }
  })

  const rotate = Effect.fn("Credentials.rotate")(function* (actor: string) {
    let count = 0
    yield* forEach((row) =>
      Effect.gen(function* () {
        if (row.sealed.keyId === secrets.keyId()) return
        yield* put(row.name, yield* opened(row), { actor, action: "credential.rotated" }, row.revision)
        count++
      }).pipe(
        // Whoever set it meanwhile has sealed it with a key of today.
        Effect.catchReasons("CentralError", { CredentialChanged: () => Effect.void })
      )
    )
    return count
  })

  const check = Effect.gen(function* () {
    const wrong: Array<string> = []
    yield* forEach((row) =>
      opened(row).pipe(
        Effect.asVoid,
        Effect.catch((error) => Effect.sync(() => void wrong.push(`${row.name}: ${error.message}`)))
      )
    )
    return wrong.length === 0
      ? ({ status: "ok", message: "every stored credential can be opened" } satisfies CheckResult)
      : ({ status: "failed", message: wrong.join("\n") } satisfies CheckResult)
  }).pipe(
    Effect.catch((error) =>
      Effect.succeed<CheckResult>({
        status: "failed",
        message: `stored credentials cannot be read: ${error.message}`
      })
    )
  )
  yield* (yield* Checks).register({ name: "credentials", when: "doctor", run: check })

  return Credentials.of({
    set: Effect.fn("Credentials.set")(function* (name, value, actor) {
      yield* put(name, value, { actor, action: "credential.set" })
      yield* changed
    }),
    list,
    remove: Effect.fn("Credentials.remove")(function* (name, actor) {
      const event = yield* audit.eventOf({ actor, action: "credential.deleted", subject: name })
      yield* db.deleteCredential({ tenant: local, name }, event)
      yield* changed
    }),
    open: Effect.fn("Credentials.open")(function* (name) {
      const [row] = yield* db.credentials({ tenant: local, name, limit: 1 })
      return row === undefined ? undefined : yield* opened(row)
    }),
    rotate,
    onChange: (listener) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    }
  })
})

export const layer = Layer.effect(Credentials, make)
