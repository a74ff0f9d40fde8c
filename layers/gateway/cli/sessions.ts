/** `opencraw sessions ...`, `models ...`, `trace`, `approvals` and `open`: what the running gateway knows. */
import { writeFileSync } from "node:fs"
import { createInterface } from "node:readline/promises"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Api from "#src/gateway/apiSchemas.ts"
import { CommandFailed } from "#src/gateway/cli/CommandFailed.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import type { Given } from "#src/gateway/cli/parse.ts"
import * as render from "#src/gateway/cli/render.ts"
import * as GatewayClient from "../GatewayClient.ts"
import { numberOf, optionsOf, print, printJson, wrong } from "./terminal.ts"

const connect = (given: Given) => GatewayClient.connect(optionsOf(given))
const wordOf = ({ values }: Given, name: string) => values.get(name) ?? ""
const pathOf = (key: string) => `/api/v1/os/sessions/${encodeURIComponent(key)}`

const Code = Schema.Struct({ code: Schema.String })

export const open = Effect.fn("cli.open")(function* (given: Given) {
  const client = yield* connect(given)
  const { code } = yield* client.call(Code, "POST", "/api/v1/os/codes", {})
  const url = `${client.url}/#code=${code}`
  if (given.values.has("json")) printJson({ url })
  else print(`${url}\n`)
  return exitCodes.ok
})

const SessionList = Schema.Struct({ sessions: Schema.Array(Api.Session) })

export const list = Effect.fn("cli.sessions.list")(function* (given: Given) {
  const limit = (yield* numberOf(given, "limit", 1)) ?? 100
  if (limit > 1000) return yield* wrong("--limit must be at most 1000")
  const client = yield* connect(given)
  const found = yield* client.call(SessionList, "GET", `/api/v1/os/sessions?limit=${limit}`)
  if (given.values.has("json")) printJson(found)
  else print(render.sessions(found.sessions, Date.now()))
  return exitCodes.ok
})

const Page = Schema.Struct({
  messages: Schema.Array(Api.TranscriptMessage),
  next: Schema.optionalKey(Schema.Finite)
})
type Message = typeof Api.TranscriptMessage.Type

/** Every message of a session, page by page. */
export const eachPage = Effect.fnUntraced(function* (
  client: GatewayClient.GatewayClient,
  key: string,
  use: (messages: ReadonlyArray<Message>) => void
) {
  let after = 0
  let count = 0
  while (true) {
    const page = yield* client.call(Page, "GET", `${pathOf(key)}/messages?limit=500&after=${after}`)
    use(page.messages)
    count += page.messages.length
    if (page.next === undefined || page.next <= after) break
    after = page.next
  }
  if (count === 0) return yield* noSession(key)
})

const noSession = (key: string) =>
  new CommandFailed({
    code: exitCodes.negative,
    message: `There is no session ${render.plain(key)}, or it is empty. Which there are: opencraw sessions list`
  })

export const show = Effect.fn("cli.sessions.show")(function* (given: Given) {
  const last = yield* numberOf(given, "last", 1)
  const client = yield* connect(given)
  let messages: ReadonlyArray<Message> = []
  yield* eachPage(client, wordOf(given, "KEY"), (page) => {
    const all = [...messages, ...page]
    messages = last === undefined ? all : all.slice(-last)
  })
  if (given.values.has("json")) printJson({ messages })
  else print(render.transcript(messages))
  return exitCodes.ok
})

export const remove = Effect.fn("cli.sessions.delete")(function* (given: Given) {
  const key = wordOf(given, "KEY")
  const client = yield* connect(given)
  if (!given.values.has("yes")) {
    if (!process.stdin.isTTY) return yield* wrong("deleting needs --yes where nobody can be asked")
    const answer = yield* Effect.promise(async () => {
      const input = createInterface({ input: process.stdin, output: process.stderr })
      const said = await input.question(`Forget ${render.plain(key)} and all that was said in it? [y/N] `)
      input.close()
      return said.trim().toLowerCase()
    })
    if (answer !== "y" && answer !== "yes") {
      process.stderr.write("Nothing was deleted.\n")
      return exitCodes.negative
    }
  }
  yield* client.call(Schema.Unknown, "DELETE", pathOf(key))
  if (given.values.has("json")) printJson({ deleted: key })
  else print(`Forgotten: ${render.plain(key)}\n`)
  return exitCodes.ok
})

export const fork = Effect.fn("cli.fork")(function* (given: Given) {
  const from = wordOf(given, "SESSION")
  const at = yield* numberOf(given, "at", 1)
  const as = given.values.get("as")
  const client = yield* connect(given)
  const made = yield* client.call(Api.Forked, "POST", `${pathOf(from)}/fork`, {
    ...(at === undefined ? {} : { at }),
    ...(as === undefined ? {} : { session_key: as })
  })
  if (given.values.has("json")) printJson(made)
  else print(`${render.plain(made.session_key)} begins with ${render.plain(from)} up to ${made.seq}.\n`)
  return exitCodes.ok
})

export const exportSession = Effect.fn("cli.sessions.export")(function* (given: Given) {
  const key = wordOf(given, "KEY")
  const output = given.values.get("output")
  const client = yield* connect(given)
  const messages: Array<Message> = []
  yield* eachPage(client, key, (page) => void messages.push(...page))
  const text =
    given.values.get("format") === "markdown"
      ? render.markdown(key, messages)
      : messages.map((message) => `${JSON.stringify(message)}\n`).join("")
  if (output === undefined) {
    print(text)
    return exitCodes.ok
  }
  yield* Effect.try({
    try: () => writeFileSync(output, text, { mode: 0o600, flag: "wx" }),
    catch: (cause) =>
      new CommandFailed({
        code: exitCodes.dataDir,
        message:
          cause instanceof Error && "code" in cause && cause.code === "EEXIST"
            ? `${output} exists already: name another file`
            : `${output} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`
      })
  })
  process.stderr.write(`${messages.length} messages in ${output}\n`)
  return exitCodes.ok
})

export const trace = Effect.fn("cli.trace")(function* (given: Given) {
  const client = yield* connect(given)
  const path = `/api/v1/os/messages/${encodeURIComponent(wordOf(given, "MESSAGE"))}`
  const status = yield* client.call(Api.MessageStatus, "GET", path)
  if (given.values.has("json")) printJson(status)
  else print(render.trace(status))
  return exitCodes.ok
})

const ModelList = Schema.Struct({ models: Schema.Array(Api.Model), resting: Schema.Array(Api.Resting) })
const findModels = (client: GatewayClient.GatewayClient) => client.call(ModelList, "GET", "/api/v1/os/models")

export const models = Effect.fn("cli.models.list")(function* (given: Given) {
  const { models } = yield* findModels(yield* connect(given))
  if (given.values.has("json")) printJson({ models })
  else print(render.models(models))
  return exitCodes.ok
})

export const modelStatus = Effect.fn("cli.models.status")(function* (given: Given) {
  const { models, resting } = yield* findModels(yield* connect(given))
  if (given.values.has("json")) printJson({ resting })
  else print(render.resting(resting))
  const agents = new Set(models.flatMap(({ first_of }) => first_of))
  const canAnswer = (agent: string) =>
    models.some(
      ({ state, first_of, fallback_of }) =>
        state === "ready" && (first_of.includes(agent) || fallback_of.includes(agent))
    )
  return [...agents].every(canAnswer) ? exitCodes.ok : exitCodes.negative
})

const ApprovalList = Schema.Struct({ approvals: Schema.Array(Api.Approval) })

export const approvals = Effect.fn("cli.approvals")(function* (given: Given) {
  const client = yield* connect(given)
  const found = yield* client.call(ApprovalList, "GET", "/api/v1/os/approvals?limit=1000")
  if (given.values.has("json")) printJson(found)
  else print(render.approvals(found.approvals))
  return exitCodes.ok
})

/** `approve` and `deny`: the command's name is the decision. */
export const decide = Effect.fn("cli.decide")(function* (given: Given) {
  const client = yield* connect(given)
  const id = wordOf(given, "APPROVAL")
  const path = `/api/v1/os/approvals/${encodeURIComponent(id)}`
  const found = yield* client.call(Api.DecidedApproval, "POST", path, { decision: given.command.name })
  if (given.values.has("json")) printJson({ id, ...found })
  else print(`${render.plain(id)} is ${found.state}.\n`)
  return exitCodes.ok
})
