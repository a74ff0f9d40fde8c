/** `opencraw replay`: decides again what a lane decided, from the running gateway's journal or from a file. */
import { readFileSync } from "node:fs"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { JournalRecord } from "#src/domain/JournalRecord.ts"
import { canonical } from "#src/domain/SessionKey.ts"
import * as Api from "#src/gateway/apiSchemas.ts"
import { CommandFailed } from "#src/gateway/cli/CommandFailed.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import type { Given } from "#src/gateway/cli/parse.ts"
import { plain } from "#src/gateway/cli/render.ts"
import * as Replay from "#src/gateway/cli/replay.ts"
import { redecide } from "#src/lane/replay.ts"
import * as GatewayClient from "../GatewayClient.ts"
import { numberOf, optionsOf, print, printJson, wrong } from "./terminal.ts"

type Journals = Readonly<Record<string, ReadonlyArray<JournalRecord>>>

/** What `--json` prints and the simulation writes; what else is in it is not read. */
const readFile = Schema.decodeUnknownResult(
  Schema.fromJsonString(
    Schema.Struct({ journals: Schema.Record(Schema.String, Schema.Array(JournalRecord)) })
  )
)

const fromFile = Effect.fnUntraced(function* (file: string, session: string | undefined) {
  const text = yield* Effect.try({
    try: () => readFileSync(file, "utf8"),
    catch: (cause) =>
      wrong(`${file} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`)
  })
  const found = yield* Effect.fromResult(
    Result.mapError(readFile(text), (error) => wrong(`${file} holds no journal: ${error.message}`))
  )
  if (session === undefined) return found.journals
  const key = yield* keyOf(session)
  const records = found.journals[key]
  if (records === undefined) return yield* nothing(key)
  return { [key]: records }
})

const keyOf = (named: string) =>
  Effect.fromResult(Result.mapError(canonical(named, "main"), (error) => wrong(error.message)))

const nothing = (session: string) =>
  new CommandFailed({
    code: exitCodes.negative,
    message: `Nothing is kept of what ${plain(session)} decided. Which sessions there are: opencraw sessions list`
  })

const fromGateway = Effect.fnUntraced(function* (given: Given, named: string) {
  const key = yield* keyOf(named)
  const client = yield* GatewayClient.connect(optionsOf(given))
  const records: Array<JournalRecord> = []
  let after = 0
  while (true) {
    const path = `/api/v1/os/sessions/${encodeURIComponent(key)}/journal?after=${after}`
    const page = yield* client.call(Api.Journal, "GET", path)
    for (const record of page.records) records.push(record)
    if (page.next === undefined || page.next <= after) break
    after = page.next
  }
  if (records.length === 0) return yield* nothing(key)
  return { [key]: records } satisfies Journals
})

export const replay = Effect.fn("cli.replay")(function* (given: Given) {
  const { values } = given
  const last = yield* numberOf(given, "last", 1)
  const file = values.get("file")
  const session = values.get("KEY")
  if (file === undefined && session === undefined)
    return yield* wrong("name a session, or a file with --file")
  const journals: Journals =
    file === undefined ? yield* fromGateway(given, session ?? "") : yield* fromFile(file, session)
  const sessions = Object.entries(journals).map(([name, records]) => ({
    session: name,
    spells: redecide(records)
  }))
  const verdict = Replay.verdictOf(sessions)
  if (values.has("json")) printJson({ ...verdict, journals })
  else print(Replay.shown(sessions, last))
  return verdict.differences.length === 0 ? exitCodes.ok : exitCodes.negative
})
