/** Rows of `failover-classify`. */
import {
  classify,
  isCompactionFailure,
  isContextOverflow,
  statusOf,
  type Symptoms
} from "#src/model/failure.ts"
import { compare, type Row } from "./Row.ts"

export const topic = "failover-classify"

type Input =
  | { readonly op: "classify"; readonly error: Symptoms }
  | { readonly op: "contextOverflow"; readonly message: string }

const answer = (input: Input): unknown => {
  if (input.op === "contextOverflow") {
    return {
      isContextOverflow: isContextOverflow(input.message),
      isCompactionFailure: isCompactionFailure(input.message)
    }
  }
  const reason = classify(input.error)
  return {
    reason: reason ?? null,
    status: reason === undefined ? null : (input.error.status ?? statusOf[reason])
  }
}

export const run = async ({ input, expected }: Row<Input>) => compare(answer(input), expected)
