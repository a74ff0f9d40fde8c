/**
 * The protocols that providers speak. Starts empty: an adapter registers its kind by a Layer.
 *
 * Owns: the registry, and what a kind is given for one call.
 * Does not own: which provider a model belongs to (`Models`), nor wire formats (`layers/model`).
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Stream from "effect/Stream"
import type { ModelError, ModelEvent, ModelRequest } from "./Model.ts"
import type { ProviderSettings } from "./ProviderSettings.ts"

/** One model call, its provider found. */
export interface ProviderCall {
  /** The model's name as its provider knows it: what stands after the first `/`. */
  readonly model: string
  readonly settings: ProviderSettings
  readonly request: ModelRequest
}

/** One protocol. The stream keeps the promises of `Model.stream`. */
export type ModelKind = (call: ProviderCall) => Stream.Stream<ModelEvent, ModelError>

export class ModelKinds extends Context.Service<
  ModelKinds,
  {
    readonly register: (kind: ProviderSettings["kind"], speak: ModelKind) => Effect.Effect<void>
    readonly find: (kind: ProviderSettings["kind"]) => ModelKind | undefined
  }
>()("opencraw/model/ModelKinds") {}

export const layer = Layer.sync(ModelKinds, () => {
  const byKind = new Map<ProviderSettings["kind"], ModelKind>()
  return ModelKinds.of({
    register: (kind, speak) => Effect.sync(() => void byKind.set(kind, speak)),
    find: (kind) => byKind.get(kind)
  })
})

/** A Layer that registers one kind, for an adapter that needs nothing else. */
export const layerRegister = (kind: ProviderSettings["kind"], speak: ModelKind) =>
  Layer.effectDiscard(Effect.flatMap(ModelKinds, (kinds) => kinds.register(kind, speak)))
