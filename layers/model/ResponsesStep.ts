/**
 * What one answer held, as the Responses API wants to see it again while the run goes on.
 *
 * Nothing is kept at the provider, so a model's reasoning comes back encrypted and is sent again in its place. It travels as the
 * `continuation` of a step: never stored, never shown, and dropped by any other model.
 */
import type { Json } from "./json.ts"
import { type CommonPart, WrittenStep } from "./stepParts.ts"

export type StepPart = { readonly type: "reasoning"; readonly item: Json } | CommonPart

export class ResponsesStep extends WrittenStep<StepPart> {}
