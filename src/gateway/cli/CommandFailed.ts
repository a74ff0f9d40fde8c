/** A command that could not do what it was asked, in words for the person at the terminal. */
import * as Schema from "effect/Schema"

export class CommandFailed extends Schema.TaggedError<CommandFailed>()("CommandFailed", {
  /** One of `exitCodes`. */
  code: Schema.Finite,
  message: Schema.String
}) {}
