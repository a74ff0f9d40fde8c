/** `opencraw keys ...`, `credentials ...` and `audit`: who may use the running gateway, and who did what. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Api from "#src/gateway/apiSchemas.ts"
import { CommandFailed } from "#src/gateway/cli/CommandFailed.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import type { Given } from "#src/gateway/cli/parse.ts"
import * as render from "#src/gateway/cli/render.ts"
import * as GatewayClient from "../GatewayClient.ts"
import { numberOf, optionsOf, print, printJson, readSecret, wrong } from "./terminal.ts"

export const connect = (given: Given) => GatewayClient.connect(optionsOf(given))
export const wordOf = ({ values }: Given, name: string) => values.get(name) ?? ""
const keysPath = "/api/v1/os/keys"
const credentialsPath = "/api/v1/os/credentials"

const units = { min: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** A span such as `90d`, in ms; undefined when the flag is absent. */
const spanOf = Effect.fnUntraced(function* (given: Given, name: string) {
  const text = given.values.get(name)
  if (text === undefined) return undefined
  const [, count, unit] = /^([1-9]\d{0,5})(min|h|d)$/.exec(text) ?? []
  if (count === undefined || unit === undefined) {
    return yield* wrong(`--${name} must be a time such as 90d, 12h or 30min`)
  }
  return Number(count) * units[unit as keyof typeof units]
})

/** All pages of a list. */
export const allOf = Effect.fnUntraced(function* <A>(
  read: (
    query: string
  ) => Effect.Effect<{ readonly rows: ReadonlyArray<A>; readonly next: string | undefined }, CommandFailed>
) {
  const found: Array<A> = []
  let query: string | undefined = "?limit=1000"
  while (query !== undefined) {
    const page: { readonly rows: ReadonlyArray<A>; readonly next: string | undefined } = yield* read(query)
    found.push(...page.rows)
    query = page.next === undefined ? undefined : `?limit=1000&after=${encodeURIComponent(page.next)}`
  }
  return found
})

const allKeys = (client: GatewayClient.GatewayClient) =>
  allOf((query) =>
    Effect.map(client.call(Api.ApiKeys, "GET", keysPath + query), ({ keys, next }) => ({ rows: keys, next }))
  )

const createKey = Effect.fn("cli.keys.create")(function* (given: Given) {
  const { values } = given
  const name = values.get("name")
  const scope = values.get("scope")
  if (name === undefined || scope === undefined) return yield* wrong("keys create needs --name and --scope")
  const span = yield* spanOf(given, "expires")
  const client = yield* connect(given)
  const user = values.get("user")
  const made = yield* client.call(Api.MadeApiKey, "POST", keysPath, {
    name,
    scopes: scope.split(","),
    ...(user === undefined ? {} : { user }),
    ...(span === undefined ? {} : { expires_at: Date.now() + span })
  })
  if (values.has("json")) printJson(made)
  else {
    // The key alone on stdout, so that it can go where it belongs without being seen.
    process.stderr.write(`${render.madeKey(made.api_key)}It is shown this once:\n`)
    print(`${made.key}\n`)
  }
  return exitCodes.ok
})

const listKeys = Effect.fn("cli.keys.list")(function* (given: Given) {
  const keys = yield* allKeys(yield* connect(given))
  if (given.values.has("json")) printJson({ keys })
  else print(render.keys(keys, Date.now()))
  return exitCodes.ok
})

const revokeKey = Effect.fn("cli.keys.revoke")(function* (given: Given) {
  const word = wordOf(given, "KEY")
  const client = yield* connect(given)
  const keys = yield* allKeys(client)
  const found =
    keys.find(({ id }) => id === word) ?? keys.find(({ name, state }) => name === word && state !== "revoked")
  if (found === undefined) {
    return yield* new CommandFailed({
      code: exitCodes.negative,
      message: `There is no key ${render.plain(word)} in use. Which there are: opencraw keys list`
    })
  }
  yield* client.call(Schema.Unknown, "DELETE", `${keysPath}/${encodeURIComponent(found.id)}`)
  if (given.values.has("json")) printJson({ revoked: found.id })
  else print(`Revoked: ${render.plain(found.name)} (${found.id})\n`)
  return exitCodes.ok
})

const setCredential = Effect.fn("cli.credentials.set")(function* (given: Given) {
  const name = wordOf(given, "NAME")
  const client = yield* connect(given)
  const value = (yield* readSecret(`Value of ${render.plain(name)}`)).trim()
  if (value === "") return yield* wrong("there was no value on standard input")
  yield* client.call(Schema.Unknown, "POST", credentialsPath, { name, value })
  if (given.values.has("json")) printJson({ set: name })
  else print(`Kept: ${render.plain(name)}\n`)
  return exitCodes.ok
})

const listCredentials = Effect.fn("cli.credentials.list")(function* (given: Given) {
  const client = yield* connect(given)
  const credentials = yield* allOf((query) =>
    Effect.map(
      client.call(Api.Credentials, "GET", credentialsPath + query),
      ({ credentials: rows, next }) => ({
        rows,
        next
      })
    )
  )
  if (given.values.has("json")) printJson({ credentials })
  else print(render.credentials(credentials, Date.now()))
  return exitCodes.ok
})

const deleteCredential = Effect.fn("cli.credentials.delete")(function* (given: Given) {
  const name = wordOf(given, "NAME")
  const client = yield* connect(given)
  yield* client.call(Schema.Unknown, "DELETE", `${credentialsPath}/${encodeURIComponent(name)}`)
  if (given.values.has("json")) printJson({ deleted: name })
  else print(`Forgotten: ${render.plain(name)}\n`)
  return exitCodes.ok
})

const rotateCredentials = Effect.fn("cli.credentials.rotate")(function* (given: Given) {
  const client = yield* connect(given)
  const found = yield* client.call(Api.Rotated, "POST", `${credentialsPath}/rotate`, {})
  if (given.values.has("json")) printJson(found)
  else print(`${found.rotated} were encrypted anew.\n`)
  return exitCodes.ok
})

const audit = Effect.fn("cli.audit")(function* (given: Given) {
  const limit = (yield* numberOf(given, "limit", 1)) ?? 100
  if (limit > 1000) return yield* wrong("--limit must be at most 1000")
  const span = yield* spanOf(given, "since")
  const query = new URLSearchParams({ limit: String(limit) })
  for (const name of ["action", "actor"]) {
    const value = given.values.get(name)
    if (value !== undefined) query.set(name, value)
  }
  if (span !== undefined) query.set("since", String(Math.max(0, Date.now() - span)))
  const client = yield* connect(given)
  const page = yield* client.call(Api.AuditPage, "GET", `/api/v1/os/audit?${query.toString()}`)
  if (given.values.has("json")) printJson(page)
  else print(render.audit(page.events))
  return exitCodes.ok
})

/** By the command's name. */
export const programs = {
  "keys create": createKey,
  "keys list": listKeys,
  "keys revoke": revokeKey,
  "credentials set": setCredential,
  "credentials list": listCredentials,
  "credentials delete": deleteCredential,
  "credentials rotate": rotateCredentials,
  audit
} satisfies Record<string, (given: Given) => Effect.Effect<number, CommandFailed>>
