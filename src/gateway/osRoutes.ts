/**
 * Our own API: sessions, their messages, what became of a message, and one way to send one.
 *
 * Strict: an unknown key or parameter is 400 naming it. Does not own: what any of it means; the rooms below do.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { Audit } from "#src/access/Audit.ts"
import { ProjectAgents } from "#src/agent/ProjectAgents.ts"
import { Channels } from "#src/channel/Channels.ts"
import { Checks } from "#src/check/Checks.ts"
import { approvalId, Ids, messageId } from "#src/domain/Ids.ts"
import { agentOf, tenantOf } from "#src/domain/SessionKey.ts"
import { type LogError, MessageLog, SessionShared } from "#src/horizons/MessageLog.ts"
import { isLocal, show } from "#src/domain/Tenant.ts"
import { Inbound } from "#src/inbound/Inbound.ts"
import { Lanes } from "#src/lane/Lanes.ts"
import { recordsOf } from "#src/lane/replay.ts"
import { SessionQueues } from "#src/lane/SessionQueues.ts"
import { SessionModels } from "#src/lane/SessionModels.ts"
import { SessionUsage } from "#src/session/SessionUsage.ts"
import { Sessions, type TranscriptMessage } from "#src/session/Sessions.ts"
import type * as Api from "./apiSchemas.ts"
import { ApiError, invalid, notFound } from "./ApiError.ts"
import { actorOf, Auth, mayWriteAs, onSession, setCookie } from "./Auth.ts"
import { ConfigFile } from "./ConfigFile.ts"
import { Gateway } from "./GatewaySettings.ts"
import { modelsNow } from "./modelsNow.ts"
import { modelStatus } from "./probes.ts"
import { imageLine } from "./Frames.ts"
import { sessionOf, shown } from "./ownSessions.ts"
import * as chatImages from "./chatImages.ts"
import { isLarger, readStrict, sizeWithImages, tooLarge } from "./readBody.ts"
import { logRefusal, toApiError } from "./refusals.ts"
import type { Call, OpenCall, Route } from "./Routing.ts"
import { statusOf } from "./timeline.ts"
import { toMessage } from "./WebChat.ts"

export const json = <A>(body: A, status = 200) => HttpServerResponse.jsonUnsafe(body, { status })

export const read = <A>(effect: Effect.Effect<A, LogError>): Effect.Effect<A, ApiError> =>
  Effect.catchTags(effect, { LogError: ({ reason }) => Effect.fail(logRefusal(reason)) })

/** The query's whole numbers; an unknown parameter or another value is refused by name. */
export const numbers = (query: URLSearchParams, allowed: ReadonlyArray<string>) =>
  Result.gen(function* () {
    const values: Record<string, number> = {}
    for (const [key, value] of query) {
      if (!allowed.includes(key)) {
        return yield* Result.fail(
          invalid(key.toWellFormed().slice(0, 100), "this parameter is not known here", "unknown_key")
        )
      }
      if (!/^[0-9]{1,15}$/.test(value)) {
        return yield* Result.fail(invalid(key, `${key} must be a whole number of at least 0`))
      }
      values[key] = Number(value)
    }
    return values
  })

const maxPage = 1000
const limitOf = (given: number | undefined) =>
  given === undefined || (given >= 1 && given <= maxPage)
    ? Result.succeed(given ?? 100)
    : Result.fail(invalid("limit", `limit must be from 1 to ${maxPage}`))

export const make = Effect.gen(function* () {
  const agents = yield* ProjectAgents
  const audit = yield* Audit
  const auth = yield* Auth
  const channels = yield* Channels
  const configFile = yield* ConfigFile
  const checks = yield* Checks
  const settings = yield* Gateway
  const ids = yield* Ids
  const inbound = yield* Inbound
  const lanes = yield* Lanes
  const log = yield* MessageLog
  const models = yield* modelsNow
  const sessionModels = yield* SessionModels
  const sessionQueues = yield* SessionQueues
  const sessionUsage = yield* SessionUsage
  const sessions = yield* Sessions

  const listSessions = Effect.fnUntraced(function* ({ query, principal }: Call) {
    const given = yield* Effect.fromResult(numbers(query, ["limit"]))
    const limit = yield* Effect.fromResult(limitOf(given["limit"]))
    const rows = yield* read(sessions.list(principal.tenant, limit))
    const found = rows.map((row): typeof Api.Session.Type => ({
      session_key: shown(row.place.session, principal),
      agent: agentOf(row.place.session),
      ...(row.title === undefined ? {} : { title: row.title }),
      ...(row.opening === undefined ? {} : { opening: row.opening }),
      ...(row.forkedFrom === undefined
        ? {}
        : {
            forked_from: { session_key: shown(row.forkedFrom.session, principal), seq: row.forkedFrom.seq }
          }),
      seq: row.seq,
      open: row.open,
      created_at: row.createdAt,
      updated_at: row.updatedAt
    }))
    return json({ sessions: found })
  })

  const listMessages = Effect.fnUntraced(function* ({ query, params, principal }: Call) {
    const given = yield* Effect.fromResult(numbers(query, ["after", "before", "limit"]))
    const limit = yield* Effect.fromResult(limitOf(given["limit"]))
    const key = yield* Effect.fromResult(sessionOf(params["key"] ?? "", principal, { sees: true }))
    const { after, before } = given
    if (after !== undefined && before !== undefined) {
      return yield* invalid("before", "ask for what is after or before a seq, not for both")
    }
    // Read first: a message that ends meanwhile is told as open, never an open one as ended.
    const open = yield* read(sessions.open(key))
    if (before !== undefined) {
      const { messages, previous } = yield* read(sessions.messagesBefore(key, { before, limit }))
      return json({ messages: messages.map(toLine(open)), ...(previous === undefined ? {} : { previous }) })
    }
    const { messages, next } = yield* read(
      sessions.messages(key, { ...(after === undefined ? {} : { after }), limit })
    )
    return json({ messages: messages.map(toLine(open)), ...(next === undefined ? {} : { next }) })
  })

  const showJournal = Effect.fnUntraced(function* ({ query, params, principal }: Call) {
    const { after, limit: asked } = yield* Effect.fromResult(numbers(query, ["after", "limit"]))
    const limit = yield* Effect.fromResult(limitOf(asked))
    const session = yield* Effect.fromResult(sessionOf(params["key"] ?? "", principal, { sees: true }))
    const afterSeq = after === undefined ? {} : { afterSeq: after }
    const rows = yield* read(log.journal({ tenant: tenantOf(session), session, ...afterSeq, limit }))
    const next = rows.length < limit ? undefined : rows.at(-1)?.seq
    return json({
      records: rows.flatMap((row) => recordsOf(row.records)),
      ...(next === undefined ? {} : { next })
    } satisfies typeof Api.Journal.Type)
  })

  const renameSession = Effect.fnUntraced(function* ({ request, query, params, principal }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    const key = yield* Effect.fromResult(sessionOf(params["key"] ?? "", principal))
    const body = yield* readStrict(request, settings.get().max_body_bytes, titleKeys)
    const given = Object.hasOwn(body, "title") ? body["title"] : undefined
    if (typeof given !== "string") return yield* invalid("title", "title must be a string")
    const title = given.toWellFormed().replace(/\s+/g, " ").trim()
    if (title.length > maxTitle) {
      return yield* invalid("title", `title must have at most ${maxTitle} characters`)
    }
    const existed = yield* read(sessions.rename(key, title === "" ? undefined : title))
    if (!existed) return yield* notFound("there is no such session")
    return HttpServerResponse.empty()
  })

  const removeSession = Effect.fnUntraced(function* ({ query, params, principal }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    const key = yield* Effect.fromResult(sessionOf(params["key"] ?? "", principal))
    // Asked first: who may not delete it must not stop its work either.
    const forks = yield* read(sessions.forks(key))
    if (forks.length > 0) return yield* logRefusal(new SessionShared({ forks }))
    yield* read(lanes.stop(key, principal.id))
    // A later session of this name begins anew.
    yield* read(lanes.resume(key))
    const act = { ...onSession(principal, key), action: "session.deleted" } as const
    const existed = Effect.filterOrFail(
      read(sessions.remove(key)),
      (found) => found,
      () => notFound("there is no such session")
    )
    yield* audit.recorded(act, existed)
    sessionModels.forget(key)
    sessionQueues.forget(key)
    sessionUsage.forget(key)
    return HttpServerResponse.empty()
  })

  const showMessage = Effect.fnUntraced(function* ({ query, params, principal }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    const trace = yield* read(sessions.trace(principal.tenant, messageId(params["id"] ?? "")))
    if (trace === undefined) return yield* notFound("there is no such message")
    yield* Effect.fromResult(sessionOf(trace.message.place.session, principal, { sees: true }))
    return json(statusOf(trace))
  })

  const sendMessage = Effect.fnUntraced(function* ({ request, principal }: Call) {
    const { max_body_bytes, max_image_bytes } = settings.get()
    const maxBytes = sizeWithImages({ max_body_bytes, max_image_bytes })
    // Only images make a body larger than others may be.
    const isLarge = isLarger(request, max_body_bytes)
    const body = yield* readStrict(request, maxBytes, sendKeys).pipe(
      Effect.mapError((error) => (isLarge ? tooLarge(max_body_bytes) : error))
    )
    const text = (key: string) => {
      const value = Object.hasOwn(body, key) ? body[key] : undefined
      return value === undefined || typeof value === "string"
        ? Effect.succeed(value?.toWellFormed())
        : Effect.fail(invalid(key, `${key} must be a string`))
    }
    const named = yield* text("session_key")
    const content = yield* text("content")
    if (named === undefined) return yield* invalid("session_key", "session_key is required")
    if (content === undefined) return yield* invalid("content", "content is required")
    const images = yield* Effect.fromResult(chatImages.readList(body["images"], "images", max_image_bytes))
    if ((isLarge && images.length === 0) || content.length > max_body_bytes)
      return yield* tooLarge(max_body_bytes)
    const id = (yield* text("id")) ?? ids.next("req")
    if (id === "" || id.length > 200) return yield* invalid("id", "id must have 1 to 200 characters")
    const sender = (yield* text("sender_id")) ?? principal.id
    if (sender === "" || sender.length > 200) {
      return yield* invalid("sender_id", "sender_id must have 1 to 200 characters")
    }
    if (!mayWriteAs(principal, sender)) return yield* foreignSender
    const session = yield* Effect.fromResult(sessionOf(named, principal))
    const accepted = yield* inbound
      .submit(toMessage({ principal, sender, session }, id, content, images))
      .pipe(Effect.mapError(toApiError))
    return json(
      {
        message_id: accepted.messageId,
        seq: accepted.seq,
        duplicate: accepted.duplicate
      } satisfies typeof Api.SentMessage.Type,
      202
    )
  })

  const listChannels = Effect.fnUntraced(function* ({ query }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    const found = channels.all().map((channel): typeof Api.Channel.Type => ({
      name: channel.name,
      delivery: channel.delivery,
      max_chars: channel.maxChars
    }))
    return json({ channels: found })
  })

  const listApprovals = Effect.fnUntraced(function* ({ query, principal }: Call) {
    const given = yield* Effect.fromResult(numbers(query, ["limit"]))
    const limit = yield* Effect.fromResult(limitOf(given["limit"]))
    const rows = yield* read(log.approvals({ tenant: principal.tenant, limit }))
    const found = rows.map((row): typeof Api.Approval.Type => ({
      id: row.id,
      session_key: shown(row.place.session, principal),
      run_id: row.runId,
      tool: row.tool,
      arguments: row.arguments,
      state: row.state,
      created_at: row.createdAt,
      expires_at: row.expiresAt
    }))
    return json({ approvals: found })
  })

  const decideApproval = Effect.fnUntraced(function* ({ request, query, params, principal }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    const body = yield* readStrict(request, settings.get().max_body_bytes, decisionKeys)
    const asked = Object.hasOwn(body, "decision") ? body["decision"] : undefined
    if (asked !== "approve" && asked !== "deny") {
      return yield* invalid("decision", "decision must be approve or deny")
    }
    const decision = asked === "approve" ? "approved" : "denied"
    const state = yield* read(
      lanes.resolve(principal.tenant, approvalId(params["id"] ?? ""), decision, principal.id)
    )
    if (state === undefined) return yield* notFound("there is no such approval")
    if (state !== decision) {
      return yield* new ApiError({
        status: 409,
        code: "already_decided",
        message: `this approval is ${state} already`,
        details: { state }
      })
    }
    return json({ state } satisfies typeof Api.DecidedApproval.Type)
  })

  const runChecks = Effect.fnUntraced(function* ({ query }: Call) {
    const given = yield* Effect.fromResult(numbers(query, ["offline"]))
    const found = yield* checks.diagnose({ offline: (given["offline"] ?? 0) > 0 })
    return json({ checks: found satisfies ReadonlyArray<typeof Api.Check.Type> })
  })

  const makeCode = Effect.fnUntraced(function* ({ principal }: Call) {
    if (principal.keyId !== undefined) return yield* codeByKey
    const code = yield* auth.newCode
    yield* audit.record({ ...actorOf(principal), action: "code.made" })
    return json({ code }, 201)
  })

  const redeem = Effect.fnUntraced(function* ({ request }: OpenCall) {
    const body = yield* readStrict(request, settings.get().max_body_bytes, codeKeys)
    const code = Object.hasOwn(body, "code") ? body["code"] : undefined
    if (typeof code !== "string" || code === "") return yield* invalid("code", "code must be a string")
    const remote = Option.getOrElse(request.remoteAddress, () => "")
    const cookie = yield* auth.redeem(code, remote)
    return HttpServerResponse.empty({ headers: { "set-cookie": setCookie(cookie) } })
  })

  const me = Effect.fnUntraced(function* ({ principal }: Call) {
    const { keyId, tenant, isHome: _, ...shownOf } = principal
    const status = modelStatus(agents.of(tenant))
    const file = status.demo && principal.admin ? yield* configFile.state : "in_force"
    return json({
      principal: {
        ...shownOf,
        ...(isLocal(tenant) ? {} : { project: show(tenant) }),
        ...(keyId === undefined ? {} : { key_id: keyId })
      },
      ...status,
      ...(file === "in_force" ? {} : { setup: file === "none" ? "offered" : "restart" })
    } satisfies typeof Api.Me.Type)
  })

  const os = "/api/v1/os"
  const listModels = Effect.fnUntraced(function* ({ query }: Call) {
    yield* Effect.fromResult(numbers(query, []))
    return json(yield* models)
  })

  const routes: ReadonlyArray<Route> = [
    { method: "GET", path: `${os}/sessions`, access: "read", handle: listSessions },
    { method: "GET", path: `${os}/sessions/:key/messages`, access: "see", handle: listMessages },
    { method: "GET", path: `${os}/sessions/:key/journal`, access: "read", handle: showJournal },
    { method: "PATCH", path: `${os}/sessions/:key`, access: "chat", handle: renameSession },
    { method: "DELETE", path: `${os}/sessions/:key`, access: "chat", handle: removeSession },
    { method: "POST", path: `${os}/messages/send`, access: "chat", handle: sendMessage },
    { method: "GET", path: `${os}/messages/:id`, access: "see", handle: showMessage },
    { method: "GET", path: `${os}/channels`, access: "see", handle: listChannels },
    { method: "GET", path: `${os}/approvals`, access: "read", handle: listApprovals },
    { method: "POST", path: `${os}/approvals/:id`, access: "admin", handle: decideApproval },
    { method: "GET", path: `${os}/models`, access: "read", handle: listModels },
    { method: "GET", path: `${os}/checks`, access: "admin", isShared: true, handle: runChecks },
    { method: "POST", path: `${os}/codes`, access: "admin", isShared: true, handle: makeCode },
    { method: "POST", path: "/auth/code", access: "open", handle: redeem },
    { method: "GET", path: "/auth/me", access: "any", handle: me }
  ]
  return routes
})

const sendKeys = new Set(["session_key", "content", "id", "sender_id", "images"])
const codeKeys = new Set(["code"])
const titleKeys = new Set(["title"])
const decisionKeys = new Set(["decision"])
const maxTitle = 200

// The cookie that a code becomes would outlive the key.
const codeByKey = new ApiError({
  status: 403,
  code: "not_by_key",
  message: "a key makes no codes for browsers: use the operator's token"
})

const foreignSender = new ApiError({
  status: 403,
  code: "foreign_sender",
  message: "this principal may not write as this sender",
  param: "sender_id"
})

const toLine =
  (open: ReadonlySet<string>) =>
  (line: TranscriptMessage): typeof Api.TranscriptMessage.Type => ({
    id: line.id,
    seq: line.seq,
    role: line.role,
    content: line.content,
    ...(line.images === undefined ? {} : { images: line.images.map(imageLine) }),
    ...(line.clientId === undefined ? {} : { client_id: line.clientId }),
    ...(line.answers === undefined ? {} : { answers: line.answers }),
    ...(line.partial === undefined ? {} : { partial: line.partial }),
    ...(line.tools === undefined ? {} : { tools: line.tools }),
    ...(line.role === "user" && open.has(line.id) ? { open: true } : {}),
    created_at: line.createdAt
  })
