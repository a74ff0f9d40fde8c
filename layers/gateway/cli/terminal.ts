/** What commands read from and write to the terminal, and the settings they are given. */
import { randomUUID } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { CommandFailed } from "#src/gateway/cli/CommandFailed.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import { type Given, wholeNumber } from "#src/gateway/cli/parse.ts"
import type { LoadOptions } from "#layers/platform/Settings.ts"

export const optionsOf = ({ values }: Given): LoadOptions & { readonly project: string | undefined } => ({
  argvConfig: values.get("config"),
  project: values.get("project")
})

export const print = (text: string): void => void process.stdout.write(text)

/** For programs: one JSON value, on one line. */
export const printJson = (value: unknown): void => print(`${JSON.stringify(value)}\n`)

export const wrong = (message: string) => new CommandFailed({ code: exitCodes.usage, message })

/** A flag's whole number, or what is wrong with it. */
export const numberOf = (given: Given, name: string, minimum: number) => {
  const found = wholeNumber(given, name, minimum)
  return "problem" in found ? Effect.fail(wrong(found.problem)) : Effect.succeed(found.value)
}

export const newMessageId = () => `cli-${randomUUID()}`

/** The whole of standard input. */
export const readInput = Effect.promise(async () => {
  const parts: Array<Buffer> = []
  for await (const part of process.stdin) parts.push(Buffer.from(part))
  return Buffer.concat(parts).toString("utf8")
})

/** A secret: all of standard input, or asked for on a terminal without showing it. Ctrl-C changes nothing. */
export const readSecret = (question: string): Effect.Effect<string, CommandFailed> =>
  process.stdin.isTTY
    ? Effect.gen(function* () {
        const Prompt = yield* Effect.promise(() => import("effect/cli/Prompt"))
        const NodeServices = yield* Effect.promise(() => import("@effect/platform-node/NodeServices"))
        return yield* Prompt.run(Prompt.Password({ message: question })).pipe(
          Effect.provide(NodeServices.layer),
          Effect.map(Redacted.value),
          Effect.mapError(
            () => new CommandFailed({ code: exitCodes.negative, message: "Nothing was changed." })
          )
        )
      })
    : readInput
