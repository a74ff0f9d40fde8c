/**
 * The `replay` kind: answers from recorded exchanges instead of a provider.
 *
 * Owns: which recording a request is answered with. The one of the very same request first, in the order they were recorded and then
 * from the beginning again; else one of the same conversation, whatever its system text and its tools said.
 * Does not own: reading an answer: that does the decoder of the protocol it was recorded from, piece by piece as it came.
 */
import { readdir, readFile } from "node:fs/promises"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import {
  ModelError,
  type ModelEvent,
  ModelMalformed,
  ModelRejected,
  ModelUnavailable
} from "#src/model/Model.ts"
import { ModelKinds, type ProviderCall } from "#src/model/ModelKinds.ts"
import type { ProviderSettings } from "#src/model/ProviderSettings.ts"
import * as Anthropic from "./Anthropic.ts"
import type { Prepare } from "./Exchange.ts"
import * as Google from "./Google.ts"
import * as OpenAiChat from "./OpenAiChat.ts"
import * as OpenAiResponses from "./OpenAiResponses.ts"
import { type Reason, refusalReason, retryAfter } from "./providerHttp.ts"
import { bytesOf, hashOf, Recording, shapeOf } from "./recording.ts"

const prepares: Readonly<Partial<Record<ProviderSettings["kind"], Prepare>>> = {
  "openai-chat": OpenAiChat.prepare,
  "openai-responses": OpenAiResponses.prepare,
  anthropic: Anthropic.prepare,
  google: Google.prepare
}

const decodeRecording = Schema.decodeUnknownResult(Schema.fromJsonString(Recording))

/** A folder's recordings in the order of their names, which is that of their time. */
interface Shelf {
  readonly names: ReadonlyArray<string>
  readonly recordings: ReadonlyArray<Recording>
  readonly unreadable: number
}

const readShelf = (folder: string) =>
  Effect.tryPromise({
    try: async (): Promise<Shelf> => {
      const names = (await readdir(folder)).filter((name) => name.endsWith(".json")).toSorted()
      const recordings: Array<Recording> = []
      for (const name of names) {
        const read = decodeRecording(await readFile(join(folder, name), "utf8"))
        if (Result.isSuccess(read)) recordings.push(read.success)
      }
      return { names, recordings, unreadable: names.length - recordings.length }
    },
    catch: (cause): Reason =>
      new ModelUnavailable({
        detail: `the folder of the recording cannot be read (${cause instanceof Error ? cause.message : String(cause)})`
      })
  })

/** Which of these is next: each in its turn, and then from the first again. */
class Turns {
  readonly #served = new Map<string, number>()

  next<A>(key: string, all: ReadonlyArray<A>): A | undefined {
    const served = this.#served.get(key) ?? 0
    this.#served.set(key, served + 1)
    return all[served % Math.max(1, all.length)]
  }
}

/** What the recording says, as the protocol's decoder reads it: events, and how it ended. */
export const play = (
  { model, request }: ProviderCall,
  recording: Recording
): { readonly events: ReadonlyArray<ModelEvent>; readonly failure: Reason | undefined } => {
  const { status, headers, pieces, end, detail } = recording.response
  const failed = (failure: Reason) => ({ events: [], failure })
  const origin = URL.canParse(recording.request.url) ? new URL(recording.request.url).origin : undefined
  const outgoing = prepares[recording.kind]?.({
    model,
    request,
    settings: { kind: recording.kind, base_url: `${origin ?? "http://127.0.0.1"}/v1`, idle_timeout_ms: 1000 }
  })
  if (outgoing === undefined || "_tag" in outgoing) {
    return failed(outgoing ?? new ModelMalformed({ detail: `${recording.kind} is not replayed` }))
  }
  if (status === 0) return failed(new ModelUnavailable({ detail: detail ?? "no answer was recorded" }))
  if (status >= 300) {
    const body = Buffer.concat(pieces.map(bytesOf)).toString("utf8")
    return failed(refusalReason(status, body, outgoing.detail, retryAfter(headers)))
  }
  const { decoder } = outgoing
  const events = pieces.flatMap((piece) => decoder.push(bytesOf(piece)))
  events.push(...decoder.finish(end !== "ended"))
  return { events, failure: decoder.failure() }
}

const make = () => {
  const shelves = new Map<string, Shelf>()
  const turns = new Turns()

  const find = (folder: string, { request }: ProviderCall, shelf: Shelf): Recording | undefined => {
    const hash = hashOf(request)
    const same = shelf.recordings.filter((recording) => recording.hash === hash)
    if (same.length > 0) return turns.next(`${folder} ${hash}`, same)
    const shape = shapeOf(request)
    const alike = shelf.recordings.filter((recording) => recording.shape === shape)
    return alike.length === 0 ? undefined : turns.next(`${folder} ${shape}`, alike)
  }

  const answer = Effect.fnUntraced(function* (call: ProviderCall) {
    const { folder } = call.settings
    if (folder === undefined) {
      return yield* Effect.fail<Reason>(new ModelUnavailable({ detail: "the provider's folder is not set" }))
    }
    const known = shelves.get(folder)
    const found = known === undefined ? undefined : find(folder, call, known)
    if (found !== undefined) return play(call, found)
    // Something may have been recorded since.
    const shelf = yield* readShelf(folder)
    shelves.set(folder, shelf)
    const fresh = find(folder, call, shelf)
    if (fresh !== undefined) return play(call, fresh)
    const unreadable = shelf.unreadable === 0 ? "" : `, and ${shelf.unreadable} files are no recordings`
    return yield* Effect.fail<Reason>(
      new ModelRejected({
        status: 400,
        detail: `none of ${shelf.recordings.length} recordings answers this request (${hashOf(call.request)})${unreadable}`
      })
    )
  })

  return (call: ProviderCall): Stream.Stream<ModelEvent, ModelError> => {
    const toError = (reason: Reason) => new ModelError({ model: call.request.model, reason })
    return Stream.unwrap(
      Effect.map(answer(call), ({ events, failure }) => {
        const said = Stream.rechunk(Stream.fromIterable(events), 1)
        return failure === undefined ? said : Stream.concat(said, Stream.fail(toError(failure)))
      }).pipe(Effect.mapError(toError))
    )
  }
}

/** Registers `replay`. */
export const layer = Layer.effectDiscard(
  Effect.flatMap(ModelKinds, (kinds) => Effect.suspend(() => kinds.register("replay", make())))
)
