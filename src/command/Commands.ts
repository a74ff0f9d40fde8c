/**
 * The slash commands that exist. Starts empty: the room that owns a noun registers its command by a Layer.
 *
 * Owns: the registry, how a message is read as a command, and who may use one.
 * Does not own: what a command does (the room that registers it), nor when a message is read (`inbound`).
 *
 * A command acts at once: it starts no run, does not wait behind one and does not end one, unless that is what it is for. Its answer
 * goes to its sender.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { Access, Route } from "#src/domain/Inbound.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import type { Tenant } from "#src/domain/Tenant.ts"
import { parse } from "./parse.ts"

/** The command could not do what was asked. `message` is told to its sender. */
export class CommandError extends Schema.TaggedError<CommandError>()("CommandError", {
  message: Schema.String
}) {}

/** Who uses a command, and where. */
export interface CommandContext {
  readonly tenant: Tenant
  readonly agent: string
  readonly session: SessionKey
  readonly route: Route
  readonly sender: string
  readonly access: Access
}

export interface Command {
  /** Lower-case letters, digits, _ and -, without the slash. */
  readonly name: string
  readonly aliases: ReadonlyArray<string>
  /** What it is for, in a line. */
  readonly about: string
  readonly usage: string
  /** The least that its user must be. */
  readonly access: Access
  /**
   * Present when it may also stand within a text, where it holds for that message only. Gives the text without it, undefined when
   * the text is not such a one.
   */
  readonly inline?: (text: string) => string | undefined
  /** Do what is asked; `rest` is what stands behind the name. The text is told to the sender. */
  readonly run: (rest: string, context: CommandContext) => Effect.Effect<string, CommandError>
}

/** What a message is. */
export type Reading =
  | { readonly _tag: "Text" }
  /** The message is a command, and nothing else. */
  | { readonly _tag: "Command"; readonly command: Command; readonly rest: string }
  /** A text for the agent with a command in it; `text` is what the agent is given. */
  | { readonly _tag: "Directive"; readonly command: Command; readonly text: string }

export class Commands extends Context.Service<
  Commands,
  {
    readonly register: (command: Command) => Effect.Effect<void>
    /** By name or alias, in upper or lower case. */
    readonly find: (name: string) => Command | undefined
    /** All commands, in order of registration. */
    readonly all: () => ReadonlyArray<Command>
    /**
     * What a message from somebody of this access is. A slash word that no command has is text, and so is a text with a command in
     * it that its sender may not use; a command of its own is read as one, so that its sender can be told.
     */
    readonly read: (text: string, access: Access) => Reading
  }
>()("opencraw/command/Commands") {}

export const layer = Layer.sync(Commands, () => {
  const byName = new Map<string, Command>()
  const byWord = new Map<string, Command>()
  const find = (name: string) => byWord.get(name.toLowerCase())
  return Commands.of({
    register: (command) =>
      Effect.sync(() => {
        byName.set(command.name, command)
        for (const word of [command.name, ...command.aliases]) byWord.set(word, command)
      }),
    find,
    all: () => [...byName.values()],
    read: (text, access) => {
      if (!text.includes("/")) return isText
      for (const command of byName.values()) {
        const rest = mayUse(command, access) ? command.inline?.(text) : undefined
        if (rest !== undefined) return { _tag: "Directive", command, text: rest }
      }
      const written = parse(text)
      const command = written === undefined ? undefined : find(written.name)
      return written === undefined || command === undefined
        ? isText
        : { _tag: "Command", command, rest: written.rest }
    }
  })
})

const isText: Reading = { _tag: "Text" }

const rank: Readonly<Record<Access, number>> = { guest: 0, member: 1, owner: 2 }

/** Whether somebody of this access may use it. */
export const mayUse = (command: Command, access: Access): boolean => rank[access] >= rank[command.access]

/** What a command's sender is told: its answer, why it could not, or that they may not. Never fails. */
export const answer = (command: Command, rest: string, context: CommandContext): Effect.Effect<string> =>
  mayUse(command, context.access)
    ? Effect.catchTags(command.run(rest, context), { CommandError: ({ message }) => Effect.succeed(message) })
    : Effect.succeed(`You may not use /${command.name} here.`)

/** A Layer that registers commands, for the rooms that own them. */
export const layerRegister = (commands: ReadonlyArray<Command>) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const registry = yield* Commands
      for (const command of commands) yield* registry.register(command)
    })
  )
