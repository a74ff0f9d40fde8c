/**
 * A SQLite file for each project, below `projects` in the data directory. The file is all there is to know of it: there is no other
 * list of them.
 *
 * Owns: where the files are, and the life of the processes that run SQL on them (`projectFile`): one for each project that is used, a
 * few at work at once; one that takes too long is killed, and one that is not used any more ends.
 */
import { type ChildProcess, fork } from "node:child_process"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RcMap from "effect/RcMap"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import type { Tenant } from "#src/domain/Tenant.ts"
import * as Port from "#src/horizons/ProjectDb.ts"
import { ProjectDb, ProjectDbError } from "#src/horizons/ProjectDb.ts"
import { ProjectDbPlace } from "#src/horizons/ProjectDbSettings.ts"
import { StoreBroken, StoreBusy, StoreFull } from "#src/horizons/MessageLog.ts"
import { DataDir } from "#layers/platform/DataDir.ts"
import { createPrivate } from "#layers/platform/SqliteEngine.ts"
import type { Ask, Failure, Reply } from "./projectFile.ts"
import { admitted } from "./sqlText.ts"

const program = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "./projectFile.ts" : "./projectFile.mjs", import.meta.url)
)

/** Statements of projects that run at once, in all. */
const atOnce = 4
const idle = "10 seconds"

type Reason = ProjectDbError["reason"]
const refuse = (reason: Reason) => Effect.fail(new ProjectDbError({ reason }))

interface Project {
  readonly child: ChildProcess
  /** It takes one call after the other. */
  readonly turn: Semaphore.Semaphore
}

/** What came of starting one. */
interface Begun {
  readonly project: Result.Result<Project, ProjectDbError>
  /** It is of no use, and the next one who asks begins another. */
  isForgotten: boolean
}

const isDead = ({ child }: Project): boolean => child.killed || !child.connected

const broken = (detail: string) => new ProjectDbError({ reason: new StoreBroken({ detail }) })

const begin = (filename: string, megabytes: number): Project => {
  const child = fork(program, [filename, String(megabytes), String(Port.maxBytes)], {
    env: {},
    execArgv: ["--disable-warning=ExperimentalWarning", "--max-old-space-size=128"],
    serialization: "advanced",
    stdio: ["ignore", "ignore", "inherit", "ipc"]
  })
  // Whoever waits for an answer hears of it; a process that ends while nobody does is begun again.
  child.on("error", () => {})
  return { child, turn: Semaphore.makeUnsafe(1) }
}

/** Until it takes calls: the time to start is no call's. */
const ready = ({ child }: Project) =>
  Effect.callback<void, ProjectDbError>((resume) => {
    const onMessage = ({ _tag }: Reply) => {
      if (_tag === "Ready") settle(Effect.void)
    }
    const onEnd = () => settle(Effect.fail(broken("the process that runs its SQL does not start")))
    const stop = () => {
      child.off("message", onMessage)
      child.off("exit", onEnd)
      child.off("error", onEnd)
    }
    const settle = (answer: Effect.Effect<void, ProjectDbError>) => {
      stop()
      resume(answer)
    }
    child.on("message", onMessage)
    child.on("exit", onEnd)
    child.on("error", onEnd)
    return Effect.sync(stop)
  })

const start = (folder: string, { org, project }: Tenant, megabytes: number) =>
  Effect.acquireRelease(
    Effect.try({
      try: () => {
        const own = join(folder, org)
        mkdirSync(own, { recursive: true, mode: 0o700 })
        const filename = join(own, `${project}.db`)
        createPrivate(filename)
        return begin(filename, megabytes)
      },
      catch: (error) => broken(error instanceof Error ? error.message : String(error))
    }),
    ({ child }) =>
      Effect.sync(() => {
        if (child.connected) child.disconnect()
      })
  ).pipe(Effect.tap(ready))

const reasonOf = (failure: Failure, megabytes: number): Reason => {
  switch (failure.kind) {
    case "refused":
      return new Port.SqlRefused({ statement: failure.statement, detail: failure.detail })
    case "full":
      return new Port.ProjectDbFull({ megabytes })
    case "disk":
      return new StoreFull({})
    case "big":
      return new Port.SqlTooBig({})
    case "busy":
      return new StoreBusy({ detail: failure.detail })
    case "broken":
      return new StoreBroken({ detail: failure.detail })
  }
}

type Answer = Extract<Reply, { readonly _tag: "Rows" | "Changed" }>

/** Undefined: its process ended, and nothing was done. Whoever does not wait for it any more ends it, and the process with it. */
const call = ({ child }: Project, ask: Ask, seconds: number, megabytes: number) =>
  Effect.callback<Answer | undefined, ProjectDbError>((resume) => {
    let isCommitting = false
    const lost = (reason: Reason) => refuse(isCommitting ? new Port.SqlUncertain({}) : reason)
    const onMessage = (reply: Reply) => {
      if (reply._tag === "Ready") return
      if (reply._tag === "Prepared") {
        isCommitting = true
        send({ kind: "commit" })
        return
      }
      if (reply._tag !== "Failed") {
        settle(Effect.succeed(reply))
        return
      }
      const reason = reasonOf(reply.failure, megabytes)
      const { kind } = reply.failure
      // It is about to end itself, and serves nobody any more.
      if (kind === "big") child.kill("SIGKILL")
      // What SQLite refuses to commit it takes back. Of a disk that fails in the middle nobody knows.
      settle(kind === "big" || kind === "broken" ? lost(reason) : refuse(reason))
    }
    const onExit = () => settle(isCommitting ? refuse(new Port.SqlUncertain({})) : Effect.succeed(undefined))
    const timer = setTimeout(() => {
      child.kill("SIGKILL")
      settle(lost(new Port.SqlTooLong({ seconds })))
    }, seconds * 1000)
    const stop = () => {
      clearTimeout(timer)
      child.off("message", onMessage)
      child.off("exit", onExit)
    }
    const settle = (answer: Effect.Effect<Answer | undefined, ProjectDbError>) => {
      stop()
      resume(answer)
    }
    const send = (what: Ask) => {
      if (!child.connected) onExit()
      else child.send(what, (error) => error !== null && onExit())
    }
    child.on("message", onMessage)
    child.on("exit", onExit)
    send(ask)
    return Effect.sync(() => {
      stop()
      child.kill("SIGKILL")
    })
  })

export const make = (folder: string) =>
  Effect.gen(function* () {
    const settings = yield* ProjectDbPlace
    const busy = Semaphore.makeUnsafe(atOnce)
    const projects = yield* RcMap.make({
      lookup: (tenant: Tenant) =>
        Effect.map(Effect.result(start(folder, tenant, settings.get().max_mb)), (project): Begun => ({
          project,
          isForgotten: false
        })),
      idleTimeToLive: idle
    })
    /** Whoever hears of an end later finds another process in its place, which stays. */
    const forget = (tenant: Tenant, begun: Begun) =>
      Effect.suspend(() => {
        const isOver = Result.isFailure(begun.project) || isDead(begun.project.success)
        if (begun.isForgotten || !isOver) return Effect.void
        begun.isForgotten = true
        return RcMap.invalidate(projects, tenant)
      })

    /** `isAgain`: its process ended at the first attempt, with nothing done, and shall not end a third one's. */
    const ask = (tenant: Tenant, what: Ask, isAgain = false): Effect.Effect<Answer, ProjectDbError> =>
      Effect.gen(function* () {
        const begun = yield* RcMap.get(projects, tenant)
        const { timeout_s: seconds, max_mb: megabytes } = settings.get()
        const calling = Effect.gen(function* () {
          const project = yield* Effect.fromResult(begun.project)
          // It was ended before this one had its turn.
          if (isDead(project)) return { isBegun: false, answer: undefined }
          return {
            isBegun: true,
            answer: yield* busy.withPermit(call(project, what, seconds, megabytes))
          }
        }).pipe(Effect.onExit(() => forget(tenant, begun)))
        return yield* Result.isSuccess(begun.project)
          ? begun.project.success.turn.withPermit(calling)
          : calling
      }).pipe(
        Effect.scoped,
        Effect.flatMap(({ isBegun, answer }) => {
          if (answer !== undefined) return Effect.succeed(answer)
          if (isBegun && isAgain)
            return refuse(new StoreBusy({ detail: "the process that ran it ended, twice" }))
          return ask(tenant, what, isAgain || isBegun)
        })
      )

    return ProjectDb.of({
      dialect: "sqlite",
      query: Effect.fn("ProjectDb.query")(function* (tenant, statement, maxRows) {
        const one = yield* Effect.fromResult(admitted(statement))
        const answer = yield* ask(tenant, { kind: "query", statement: one, maxRows })
        return answer._tag === "Rows" ? answer.rows : yield* Effect.die(answer)
      }),
      execute: Effect.fn("ProjectDb.execute")(function* (tenant, statements) {
        const all = yield* Effect.fromResult(Result.all(statements.map(admitted)))
        const answer = yield* ask(tenant, { kind: "execute", statements: all })
        return answer._tag === "Changed" ? answer.changes : yield* Effect.die(answer)
      })
    })
  })

/** Below this folder. */
export const layerFolder = (folder: string) => Layer.effect(ProjectDb, make(folder))

export const layer = Layer.unwrap(Effect.map(DataDir, ({ path }) => layerFolder(join(path, "projects"))))
