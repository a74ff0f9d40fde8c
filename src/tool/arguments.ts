/**
 * Reads the arguments of a tool call.
 *
 * Owns: that a wrong shape is told to the model in one line that names the key.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { ToolError } from "./Tools.ts"

/** A decoder for one tool: strict about keys, every problem at once. */
export const decodeArguments = <A, I>(schema: Schema.Codec<A, I>) => {
  const decode = Schema.decodeUnknownEffect(schema, { onExcessProperty: "error", errors: "all" })
  return (args: unknown): Effect.Effect<A, ToolError> =>
    Effect.mapError(
      decode(args),
      (error) =>
        new ToolError({ message: `wrong arguments: ${error.message.replace(/\s+/g, " ").slice(0, 500)}` })
    )
}
