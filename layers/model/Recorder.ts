/**
 * Writes each exchange with a provider into a file of its own, for `Replay` and for whoever looks for a fault.
 *
 * Owns: the folder, its files (readable by their owner only), and that neither keys nor request headers are in them. Prompts and
 * answers are: that is what it is for.
 * Does not own: the exchange. A file that cannot be written is told in the log and harms no call.
 */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { ProviderCall } from "#src/model/ModelKinds.ts"
import { Runtime } from "#src/setting/RuntimeSettings.ts"
import type { Headers } from "./providerHttp.ts"
import { hashOf, pieceOf, type Recording, shapeOf } from "./recording.ts"

/** One exchange being recorded. */
export interface Tape {
  readonly status: (status: number, headers: Headers) => void
  readonly bytes: (bytes: Uint8Array) => void
  /** It is over; only the first end counts. */
  readonly end: (how: Recording["response"]["end"], detail?: string) => void
}

export interface Recorder {
  readonly begin: (
    call: ProviderCall,
    sent: { readonly origin: string; readonly path: string; readonly body: string }
  ) => Tape
}

/** Undefined unless exchanges are recorded. */
export const CurrentRecorder = Context.Reference<Recorder | undefined>(
  "opencraw/layers/model/Recorder/CurrentRecorder",
  { defaultValue: () => undefined }
)

/** The folder for recordings cannot be used. */
export class RecordingFolderUnusable extends Schema.TaggedError<RecordingFolderUnusable>()(
  "RecordingFolderUnusable",
  { folder: Schema.String, cause: Schema.Defect() }
) {
  override get message() {
    const reason = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `exchanges cannot be recorded in ${this.folder} (${reason}): set OPENCRAW_RECORD to a folder that can be written`
  }
}

/** What helps to read the answer again; nothing else of what a provider sends along is kept. */
const keptHeaders = ["content-type", "retry-after", "retry-after-ms"]

/** More of an answer than this is not kept: it then ends as if it had broken off. */
const maxBytes = 32 * 1024 * 1024

/** `onTrouble` is told once, when a file cannot be written. */
export const make = (folder: string, onTrouble: (cause: unknown) => void): Recorder => {
  let count = 0
  let isTold = false

  const write = (recording: Recording) => {
    const time = recording.at.replace(/[-:.]/g, "")
    const name = `${time}-${String(++count).padStart(6, "0")}-${recording.hash.slice(0, 8)}.json`
    try {
      // At once, so that the last exchange before a crash is there too. Who records does not measure.
      writeFileSync(join(folder, name), `${JSON.stringify(recording, null, 2)}\n`, {
        mode: 0o600,
        flag: "wx"
      })
    } catch (cause) {
      if (!isTold) onTrouble(cause)
      isTold = true
    }
  }

  return {
    begin: ({ settings, model, request }, sent) => {
      const began = Date.now()
      const key = settings.api_key === undefined ? "" : Redacted.value(settings.api_key).trim()
      const pieces: Array<{ readonly ms: number; readonly bytes: Buffer }> = []
      let size = 0
      let status = 0
      let headers: Record<string, string> = {}
      let isOver = false

      return {
        status: (code, all) => {
          status = code
          headers = Object.fromEntries(
            keptHeaders.flatMap((name) => {
              const value = all[name]
              return value === undefined ? [] : [[name, String(value)]]
            })
          )
        },
        bytes: (bytes) => {
          size += bytes.length
          if (size <= maxBytes) pieces.push({ ms: Date.now() - began, bytes: Buffer.from(bytes) })
        },
        end: (how, detail) => {
          if (isOver) return
          isOver = true
          write({
            v: 1,
            kind: settings.kind,
            at: new Date(began).toISOString(),
            model,
            hash: hashOf(request),
            shape: shapeOf(request),
            // What stands behind the question mark may be a key.
            request: { url: sent.origin + (sent.path.split("?")[0] ?? ""), body: without(sent.body, key) },
            response: {
              status,
              headers,
              pieces: piecesOf(pieces, key),
              end: size > maxBytes ? "cut" : how,
              ...(detail === undefined ? {} : { detail })
            }
          })
        }
      }
    }
  }
}

const without = (text: string, key: string): string => (key.length < 4 ? text : text.replaceAll(key, "[key]"))

/** As they came; when the key is in them, wherever it was split, as one. */
const piecesOf = (
  pieces: ReadonlyArray<{ readonly ms: number; readonly bytes: Buffer }>,
  key: string
): Recording["response"]["pieces"] => {
  const whole = Buffer.concat(pieces.map(({ bytes }) => bytes))
  if (key.length >= 4 && whole.includes(key)) {
    return [{ ms: pieces[0]?.ms ?? 0, text: without(whole.toString("utf8"), key) }]
  }
  return pieces.map(({ ms, bytes }) => pieceOf(ms, bytes))
}

/** Records when `runtime.record` names a folder. */
export const layer = Layer.effect(
  CurrentRecorder,
  Effect.gen(function* () {
    const folder = (yield* Runtime).get().record
    if (folder === undefined) return undefined
    yield* Effect.try({
      try: () => mkdirSync(folder, { recursive: true, mode: 0o700 }),
      catch: (cause) => new RecordingFolderUnusable({ folder, cause })
    })
    yield* Effect.logWarning("every exchange with a provider is recorded, prompts and answers included").pipe(
      Effect.annotateLogs({ folder })
    )
    const context = yield* Effect.context()
    return make(folder, (cause) =>
      Effect.runForkWith(context)(
        Effect.logError("an exchange could not be recorded; nothing more is said of it", cause)
      )
    )
  })
)
