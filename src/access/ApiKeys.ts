/**
 * API keys: made, listed, revoked, and checked at every door.
 *
 * Owns: that a key is shown once, how long a check is remembered, and when a key was last used.
 * Does not own: how a key reads (`apiKey`), what a scope opens (`gateway`), or what is stored (`CentralDb`).
 *
 * A key that was checked is remembered for half a minute, so that a message costs no query. A revoked key is refused at once here, and
 * after that time in other gateways on the same database.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import { Ids } from "#src/domain/Ids.ts"
import type { Scope } from "#src/domain/Scope.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import { type ApiKeyRow, CentralDb, type CentralError, type Page } from "#src/horizons/CentralDb.ts"
import { Secrets } from "#src/horizons/Secrets.ts"
import { idIn, textOf } from "./apiKey.ts"
import { Audit } from "./Audit.ts"

export interface KeyWishes {
  readonly name: string
  /** Whom it writes as. */
  readonly user: string
  readonly scopes: ReadonlyArray<Scope>
  readonly expiresAt: number | undefined
}

export class ApiKeys extends Context.Service<
  ApiKeys,
  {
    /** A new key, told this once. Refused with `KeyNameTaken`. */
    readonly create: (
      tenant: Tenant,
      wishes: KeyWishes,
      actor: string
    ) => Effect.Effect<{ readonly key: Redacted.Redacted; readonly row: ApiKeyRow }, CentralError>
    readonly list: (page: Page) => Effect.Effect<ReadonlyArray<ApiKeyRow>, CentralError>
    /** From now on it is refused. Refused with `NoSuchKey` or `KeyRevoked`. */
    readonly revoke: (tenant: Tenant, id: string, actor: string) => Effect.Effect<void, CentralError>
    /** The key that this text is; undefined for an unknown, a wrong, an expired and a revoked one alike. */
    readonly verify: (text: string) => Effect.Effect<ApiKeyRow | undefined, CentralError>
    /** Is it still good? For what stays open longer than a request. */
    readonly isValid: (id: string) => Effect.Effect<boolean, CentralError>
    /** A user was disabled: none of their keys is remembered any more, and those that were count as revoked here. */
    readonly forgetUser: (org: string, user: string) => void
    /** Told of each key that is revoked here. Gives what ends it. */
    readonly onRevoked: (listener: (id: string) => void) => () => void
  }
>()("opencraw/access/ApiKeys") {}

/** How long a check is remembered. */
export const rememberedMillis = 30_000
const maxRemembered = 10_000
/** A key's last use is told again only when the one that is known is older. */
const usedMillis = 600_000
const usedEvery = "1 minute"
/** What a store that is away may hold up the end of the process. */
const atTheEnd = "2 seconds"

const isGood = (row: ApiKeyRow, now: number): boolean =>
  row.revokedAt === undefined &&
  row.userDisabledAt === undefined &&
  (row.expiresAt === undefined || now < row.expiresAt)

export const make = Effect.gen(function* () {
  const db = yield* CentralDb
  const secrets = yield* Secrets
  const ids = yield* Ids
  const audit = yield* Audit
  const remembered = new Map<string, { row: ApiKeyRow; readonly until: number }>()
  const used = new Map<
    string,
    { readonly tenant: ApiKeyRow["tenant"]; readonly id: string; readonly at: number }
  >()
  const listeners = new Set<(id: string) => void>()
  // What was read before a revocation must not be remembered behind it.
  let revocations = 0
  const decoy = secrets.digest(ids.secret())

  const known = (id: string, now: number): ApiKeyRow | undefined => {
    const found = remembered.get(id)
    if (found === undefined || found.until <= now) return undefined
    return isGood(found.row, now) ? found.row : undefined
  }

  const remember = (row: ApiKeyRow, now: number) => {
    remembered.delete(row.id)
    remembered.set(row.id, { row, until: now + rememberedMillis })
    if (remembered.size > maxRemembered) remembered.delete(remembered.keys().next().value!)
  }

  const markUsed = (row: ApiKeyRow, now: number) => {
    if (row.usedAt !== undefined && now - row.usedAt < usedMillis) return
    used.set(row.id, { tenant: row.tenant, id: row.id, at: now })
  }

  const storeUsed = Effect.gen(function* () {
    const uses = [...used.values()]
    if (uses.length === 0) return
    yield* db.useKeys(uses)
    for (const { id, at } of uses) {
      if (used.get(id)?.at === at) used.delete(id)
      const found = remembered.get(id)
      if (found !== undefined) found.row = { ...found.row, usedAt: at }
    }
  }).pipe(
    Effect.catch((error) => Effect.logWarning("the last use of keys could not be stored", error.message))
  )

  yield* storeUsed.pipe(Effect.repeat(Schedule.spaced(usedEvery)), Effect.forkScoped)
  yield* Effect.addFinalizer(() =>
    storeUsed.pipe(Effect.interruptible, Effect.timeoutOption(atTheEnd), Effect.asVoid)
  )

  /** Good or not, wrong or right: the same steps. */
  const look = Effect.fnUntraced(function* (id: string, text: string, now: number) {
    const before = revocations
    const row = yield* db.findKey(id)
    const isRight = secrets.isDigestOf(row?.digest ?? decoy, text)
    if (row === undefined || !isRight || !isGood(row, now)) return undefined
    if (before === revocations) remember(row, now)
    return row
  })

  const verify = Effect.fnUntraced(function* (text: string) {
    const id = idIn(text)
    if (id === undefined) return undefined
    const now = yield* Clock.currentTimeMillis
    const found = known(id, now)
    // A wrong text for a remembered key takes the way of all others.
    const row =
      found !== undefined && secrets.isDigestOf(found.digest, text) ? found : yield* look(id, text, now)
    if (row !== undefined) markUsed(row, now)
    return row
  })

  const create = Effect.fn("ApiKeys.create")(function* (tenant: Tenant, wishes: KeyWishes, actor: string) {
    const id = ids.next("key")
    const text = textOf(id, ids.secret())
    const createdAt = yield* Clock.currentTimeMillis
    const row = { ...wishes, tenant, id, digest: secrets.digest(text), createdAt }
    const event = yield* audit.eventOf({
      tenant,
      actor,
      action: "key.created",
      subject: id,
      detail: { name: wishes.name, user: wishes.user, scopes: wishes.scopes.join(" ") }
    })
    yield* db.createKey(row, event)
    return {
      key: Redacted.make(text, { label: "API key" }),
      row: { ...row, revokedAt: undefined, usedAt: undefined, userDisabledAt: undefined }
    }
  })

  const revoke = Effect.fn("ApiKeys.revoke")(function* (tenant: Tenant, id: string, actor: string) {
    const at = yield* Clock.currentTimeMillis
    const event = yield* audit.eventOf({ tenant, actor, action: "key.revoked", subject: id })
    yield* Effect.uninterruptible(
      Effect.andThen(
        db.revokeKey({ tenant, id, at }, event),
        Effect.sync(() => {
          revocations++
          remembered.delete(id)
          for (const listener of listeners) listener(id)
        })
      )
    )
  })

  return ApiKeys.of({
    create,
    list: db.keys,
    revoke,
    verify,
    isValid: Effect.fnUntraced(function* (id) {
      const now = yield* Clock.currentTimeMillis
      if (known(id, now) !== undefined) return true
      const row = yield* db.findKey(id)
      return row !== undefined && isGood(row, now)
    }),
    forgetUser: (org, user) => {
      revocations++
      for (const { row } of remembered.values()) {
        if (row.tenant.org !== org || row.user !== user) continue
        remembered.delete(row.id)
        for (const listener of listeners) listener(row.id)
      }
    },
    onRevoked: (listener) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    }
  })
})

export const layer = Layer.effect(ApiKeys, make)
