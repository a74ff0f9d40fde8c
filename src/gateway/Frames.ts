/**
 * The words of `/ws`, both ways.
 *
 * Pure. Our own surface, so it is strict: an unknown type or key is an error that names it.
 */
import * as Result from "effect/Result"
import type { ApprovalState } from "#src/domain/Approval.ts"
import type { ImageNote } from "#src/domain/Image.ts"
import type { Outcome } from "#src/domain/Outcome.ts"
import type { SessionEvent } from "#src/domain/SessionEvent.ts"
import type { TranscriptMessage } from "#src/session/Sessions.ts"
import * as Json from "./Json.ts"

export type ClientFrame =
  | { readonly type: "message"; readonly id: string; readonly content: string }
  | { readonly type: "received"; readonly id: string }
  | { readonly type: "stop" }
  | { readonly type: "cancel"; readonly id: string }
  | { readonly type: "reaction"; readonly message_id: string; readonly emoji: string }

/** What is told of an image: never the image itself. */
export interface ImageLine {
  readonly media_type: string
  readonly bytes: number
}
export const imageLine = ({ mediaType, bytes }: ImageNote) => ({ media_type: mediaType, bytes })

export type ServerFrame =
  | { readonly type: "hello"; readonly sender_id: string; readonly session_key: string; readonly seq: number }
  | { readonly type: "ack"; readonly id: string; readonly message_id: string; readonly seq: number }
  | {
      readonly type: "refused"
      readonly id: string
      readonly code: string
      readonly message: string
      readonly retry_after_ms?: number
    }
  | {
      readonly type: "outcome"
      readonly id: string
      readonly outcome: Outcome
      readonly by?: string
      /** Why it failed, in words for the person who wrote. */
      readonly failure?: { readonly code: string; readonly message: string }
    }
  | {
      readonly type: "user"
      readonly id: string
      readonly seq: number
      readonly content: string
      /** Of the images that came with it. */
      readonly images?: ReadonlyArray<ImageLine>
    }
  | {
      readonly type: "run"
      readonly run_id: string
      readonly attempt: number
      readonly state: "started" | "ended" | "parked"
    }
  | { readonly type: "typing"; readonly on: boolean }
  | {
      readonly type: "delta"
      readonly run_id: string
      readonly attempt: number
      readonly offset: number
      readonly content: string
    }
  | {
      readonly type: "tool"
      readonly run_id: string
      readonly call_id: string
      readonly name: string
      readonly phase: "started" | "finished"
      readonly summary: string
    }
  /** A call waits for an owner's decision, or (any state but `pending`) no longer does. */
  | {
      readonly type: "approval"
      readonly id: string
      readonly run_id: string
      readonly tool: string
      readonly arguments: string
      readonly state: ApprovalState
      /** Ms since the epoch. */
      readonly expires_at: number
    }
  | {
      readonly type: "message"
      readonly id: string
      readonly seq: number
      /** The newest client id answered; absent when no client named one. */
      readonly reply_to?: string
      readonly answers: ReadonlyArray<string>
      readonly content: string
    }
  | { readonly type: "error"; readonly code: string; readonly message: string }

export type ErrorFrame = Extract<ServerFrame, { type: "error" }>
export type DeltaFrame = Extract<ServerFrame, { type: "delta" }>

export const error = (code: string, message: string): ErrorFrame => ({ type: "error", code, message })

const maxId = 200
const fields: Readonly<Record<ClientFrame["type"], ReadonlyArray<string>>> = {
  message: ["id", "content"],
  received: ["id"],
  stop: [],
  cancel: ["id"],
  reaction: ["message_id", "emoji"]
}
const knownKeys = new Map(Object.entries(fields).map(([type, names]) => [type, new Set(["type", ...names])]))

const isType = (type: unknown): type is ClientFrame["type"] =>
  typeof type === "string" && Object.hasOwn(fields, type)

/** A client's frame, or what is wrong with it. */
export const decode = (text: string): Result.Result<ClientFrame, ErrorFrame> => {
  const parsed = Json.parse(text)
  if (Result.isFailure(parsed)) return Result.fail(error(parsed.failure.code, parsed.failure.message))
  const frame = parsed.success
  if (!Json.isObject(frame)) return Result.fail(error("invalid_json", "a frame must be a JSON object"))
  const type = Object.hasOwn(frame, "type") ? frame["type"] : undefined
  if (!isType(type)) {
    return Result.fail(error("unknown_type", `type must be one of ${Object.keys(fields).join(", ")}`))
  }
  const unknown = Json.unknownKey(frame, knownKeys.get(type) ?? new Set())
  if (unknown !== undefined) {
    return Result.fail(error("unknown_key", `${type} has no key ${unknown.toWellFormed().slice(0, 100)}`))
  }
  const values: Record<string, string> = {}
  for (const name of fields[type]) {
    const value = Object.hasOwn(frame, name) ? frame[name] : undefined
    if (typeof value !== "string")
      return Result.fail(error("invalid_value", `${type}.${name} must be a string`))
    if (name !== "content" && (value === "" || value.length > maxId || !value.isWellFormed())) {
      return Result.fail(error("invalid_value", `${type}.${name} must have 1 to ${maxId} characters`))
    }
    values[name] = value.toWellFormed()
  }
  return Result.succeed(build(type, (name) => values[name] ?? ""))
}

const build = (type: ClientFrame["type"], value: (name: string) => string): ClientFrame => {
  switch (type) {
    case "message":
      return { type, id: value("id"), content: value("content") }
    case "received":
    case "cancel":
      return { type, id: value("id") }
    case "reaction":
      return { type, message_id: value("message_id"), emoji: value("emoji") }
    case "stop":
      return { type }
  }
}

const user = (
  id: string,
  seq: number,
  content: string,
  images: ReadonlyArray<ImageNote> | undefined
): ServerFrame => ({
  type: "user",
  id,
  seq,
  content,
  ...(images === undefined ? {} : { images: images.map(imageLine) })
})

const message = (id: string, seq: number, answers: ReadonlyArray<string>, content: string): ServerFrame => {
  const newest = answers.at(-1)
  return { type: "message", id, seq, ...(newest === undefined ? {} : { reply_to: newest }), answers, content }
}

/** What the session's sockets are told of an event. */
export const ofEvent = (event: SessionEvent): ServerFrame => {
  switch (event._tag) {
    case "User":
      return user(event.clientId, event.seq, event.text, event.images)
    case "Run":
      return { type: "run", run_id: event.runId, attempt: event.attempt, state: event.state }
    case "Typing":
      return { type: "typing", on: event.on }
    case "Delta":
      return {
        type: "delta",
        run_id: event.runId,
        attempt: event.attempt,
        offset: event.offset,
        content: event.text
      }
    case "Tool":
      return {
        type: "tool",
        run_id: event.runId,
        call_id: event.callId,
        name: event.name,
        phase: event.phase,
        summary: event.summary
      }
    case "Approval":
      return {
        type: "approval",
        id: event.id,
        run_id: event.runId,
        tool: event.tool,
        arguments: event.arguments,
        state: event.state,
        expires_at: event.expiresAt
      }
    case "Message":
      return message(event.id, event.seq, event.answers, event.text)
    case "Outcome":
      return {
        type: "outcome",
        id: event.clientId,
        outcome: event.outcome,
        ...(event.by === undefined ? {} : { by: event.by }),
        ...(event.failure === undefined ? {} : { failure: event.failure })
      }
  }
}

/** What a late socket is told of a stored line; undefined for lines that are no user text and no final answer. */
export const ofTranscript = (line: TranscriptMessage): ServerFrame | undefined => {
  if (line.role === "user") {
    return user(line.clientId ?? line.id, line.seq, line.content, line.images)
  }
  if (line.role !== "assistant" || line.partial !== undefined || line.answers === undefined) return undefined
  return message(line.id, line.seq, line.answers, line.content)
}
