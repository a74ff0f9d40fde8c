/**
 * Fills a log with turns through the adapter that ships: `fill.ts FOLDER SESSIONS TURNS LONG`. One more session has LONG turns.
 *
 * Nothing is synced on the way: the file is closed, and so synced, before anybody reads it.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import * as SqliteMessageLog from "#layers/horizons/SqliteMessageLog.ts"
import * as Checks from "#src/check/Checks.ts"
import { messageId, runId } from "#src/domain/Ids.ts"
import { fromUser } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import * as Usage from "#src/domain/Usage.ts"
import { MessageLog } from "#src/horizons/MessageLog.ts"

const [folder = ".", sessions = "0", turns = "0", long = "0"] = process.argv.slice(2)
const answer =
  "A short answer of about as many words as a person usually gets from an assistant when asking something simple."

const turn = (log: MessageLog["Service"], name: string, count: number) => {
  const session = sessionOf(name)
  const place = { tenant: local, agent: "main", session }
  const id = messageId(`msg_${name}_${count}`)
  const run = runId(`run_${name}_${count}`)
  const at = Date.now()
  const conversation = { channel: "api", account: "", conversation: session, thread: "" }
  return Effect.andThen(
    log.commit({
      _tag: "Accept",
      place,
      messageId: id,
      message: {
        identity: { ...conversation, externalId: String(count), revision: 1 },
        session,
        ephemeral: false,
        sender: "bench",
        access: "owner",
        body: { text: `hello, please answer briefly #${count}`, queue: { mode: "followup", debounceMs: 0 } }
      },
      cap: 100,
      drop: "new",
      start: run,
      at
    }),
    log.commit({
      _tag: "Finish",
      place,
      runId: run,
      attempt: 1,
      entries: [{ id: `ent_${name}_${count}`, entry: { v: 1, kind: "assistant", text: answer } }],
      endings: [{ messageId: id, outcome: "answered" }],
      deliveries: [],
      usage: Usage.none,
      at
    })
  )
}

const sessionOf = (name: string) => Result.getOrThrow(fromUser(name))

const fill = Effect.gen(function* () {
  const log = yield* MessageLog
  const all = Array.from({ length: Number(sessions) }, (_, at) => at)
  for (let count = 0; count < Number(turns); count++) {
    yield* Effect.forEach(all, (at) => turn(log, `many-${at}`, count), { concurrency: 256, discard: true })
  }
  for (let count = 0; count < Number(long); count++) yield* turn(log, "long", count)
})

mkdirSync(folder, { recursive: true, mode: 0o700 })
await Effect.runPromise(
  fill.pipe(
    Effect.provide(
      SqliteMessageLog.layerFile({
        filename: join(folder, "log.db"),
        sync: (_, done) => void setImmediate(done, null)
      }).pipe(Layer.provide(Checks.layer))
    )
  )
)
