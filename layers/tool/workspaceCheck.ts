/** Whether the workspaces that agents were given are there. */
import { constants } from "node:fs"
import { access, stat } from "node:fs/promises"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type CheckResult, Checks } from "#src/check/Checks.ts"

const problemOf = async (folder: string): Promise<string | undefined> => {
  try {
    if (!(await stat(folder)).isDirectory()) return "is not a folder"
    await access(folder, constants.R_OK | constants.X_OK)
    return undefined
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined
    return code === "ENOENT" ? "does not exist" : "cannot be read"
  }
}

/** Registers the check `workspace`. `workspaces` gives the folder of each agent that has one. */
export const layer = (workspaces: () => ReadonlyArray<{ readonly agent: string; readonly folder: string }>) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const run = Effect.promise(async (): Promise<CheckResult> => {
        const all = workspaces()
        const problems: Array<string> = []
        for (const { agent, folder } of all) {
          const problem = await problemOf(folder)
          if (problem === undefined) continue
          problems.push(`the workspace ${folder} of agent ${agent} ${problem}`)
        }
        return problems.length > 0
          ? { status: "failed", message: `${problems.join("; ")}: make it, or set agents.NAME.workspace` }
          : {
              status: "ok",
              message: all.length === 0 ? "no agent has a workspace" : "the workspaces can be read"
            }
      })
      yield* (yield* Checks).register({ name: "workspace", when: "doctor", run })
    })
  )
