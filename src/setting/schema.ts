/**
 * How a room writes the Schema of its settings: a description and a default for every key.
 *
 * Key names are those of the configuration file, so that an error, the inventory and the code say the same word.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** A key with a default, in the file's own representation. */
export const withDefault = <S extends Schema.Constraint>(
  schema: S,
  value: S["Encoded"],
  description: string
) => Schema.withDecodingDefaultKey<S>(Effect.succeed(value))(schema).annotate({ description })

/** A whole number of at least `minimum`. */
export const wholeNumber = (minimum: number) => Schema.Int.check(Schema.isGreaterThanOrEqualTo(minimum))

/** Text that is never printed. `label` is what is shown in its place. */
export const secret = (label: string) => Schema.RedactedFromValue(Schema.String, { label })
