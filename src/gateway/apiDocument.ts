/**
 * The API's declaration, and the two documents made of it: OpenAPI and a page for people.
 *
 * Loaded when first asked for. A test holds it against the routes that are really served.
 */
import * as Schema from "effect/Schema"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { AuditAction } from "#src/domain/AuditEvent.ts"
import * as Api from "./apiSchemas.ts"
import { cookieName, opens } from "./Auth.ts"
import type { Route } from "./Routing.ts"

const error = Api.ErrorBody
const count = Schema.FiniteFromString
const paged = {
  after: Schema.optionalKey(count),
  before: Schema.optionalKey(count),
  limit: Schema.optionalKey(count)
}
const named = { after: Schema.optionalKey(Schema.String), limit: Schema.optionalKey(count) }
const key = { key: Schema.String }

const ChatBody = Schema.Struct({
  model: Schema.optionalKey(Schema.String),
  messages: Schema.Array(Schema.Struct({ role: Schema.String, content: Schema.Unknown })),
  stream: Schema.optionalKey(Schema.Boolean),
  stream_options: Schema.optionalKey(Schema.Struct({ include_usage: Schema.optionalKey(Schema.Boolean) })),
  user: Schema.optionalKey(Schema.String),
  temperature: Schema.optionalKey(Schema.Finite),
  top_p: Schema.optionalKey(Schema.Finite),
  max_tokens: Schema.optionalKey(Schema.Finite),
  max_completion_tokens: Schema.optionalKey(Schema.Finite),
  stop: Schema.optionalKey(Schema.Union([Schema.String, Schema.Array(Schema.String)])),
  seed: Schema.optionalKey(Schema.Finite),
  presence_penalty: Schema.optionalKey(Schema.Finite),
  frequency_penalty: Schema.optionalKey(Schema.Finite)
}).annotate({ identifier: "ChatCompletionRequest" })

const ChatCompletion = Schema.Struct({
  id: Schema.String,
  object: Schema.Literal("chat.completion"),
  created: Schema.Finite,
  model: Schema.String,
  choices: Schema.Array(
    Schema.Struct({
      index: Schema.Finite,
      message: Schema.Struct({ role: Schema.Literal("assistant"), content: Schema.String }),
      finish_reason: Schema.Literal("stop")
    })
  ),
  usage: Schema.optionalKey(
    Schema.Struct({
      prompt_tokens: Schema.Finite,
      completion_tokens: Schema.Finite,
      total_tokens: Schema.Finite
    })
  )
}).annotate({ identifier: "ChatCompletion" })

const Model = Schema.Struct({ id: Schema.String, object: Schema.Literal("model") }).annotate({
  identifier: "Model"
})

const v1 = HttpApiGroup.make("v1").add(
  HttpApiEndpoint.post("chatCompletions", "/v1/chat/completions", {
    headers: {
      "x-opencraw-session-key": Schema.optionalKey(Schema.String),
      "idempotency-key": Schema.optionalKey(Schema.String)
    },
    payload: ChatBody,
    success: ChatCompletion,
    error
  }).annotate(
    OpenApi.Description,
    "Talk to an agent in the OpenAI protocol. The session is the header, else `user`; then its transcript is the history. With neither, `messages` are. With `stream` the answer comes as server-sent events."
  ),
  HttpApiEndpoint.get("models", "/v1/models", {
    success: Schema.Struct({ object: Schema.Literal("list"), data: Schema.Array(Model) }),
    error
  }).annotate(OpenApi.Description, "The agents, under the names that `model` takes."),
  HttpApiEndpoint.get("model", "/v1/models/:id", { params: { id: Schema.String }, success: Model, error })
)

const os = HttpApiGroup.make("os").add(
  HttpApiEndpoint.get("sessions", "/api/v1/os/sessions", {
    query: { limit: Schema.optionalKey(count) },
    success: Schema.Struct({ sessions: Schema.Array(Api.Session) }),
    error
  }).annotate(OpenApi.Description, "Sessions, latest first."),
  HttpApiEndpoint.get("messages", "/api/v1/os/sessions/:key/messages", {
    params: key,
    query: paged,
    success: Schema.Struct({
      messages: Schema.Array(Api.TranscriptMessage),
      next: Schema.optionalKey(Schema.Finite),
      previous: Schema.optionalKey(Schema.Finite)
    }),
    error
  }).annotate(
    OpenApi.Description,
    "A conversation, oldest first; `next` is the `after` of the next page. With `before`, the newest lines before that seq; then `previous` is the `before` of the page before."
  ),
  HttpApiEndpoint.get("journal", "/api/v1/os/sessions/:key/journal", {
    params: key,
    query: { after: Schema.optionalKey(count), limit: Schema.optionalKey(count) },
    success: Api.Journal,
    error
  }).annotate(
    OpenApi.Description,
    "What the session's lane decided in the last hours, oldest first: what happened, and what was to be done about it. A page has some hundred records; `next` is the `after` of the next page."
  ),
  HttpApiEndpoint.patch("renameSession", "/api/v1/os/sessions/:key", {
    params: key,
    payload: Api.RenameSession,
    success: HttpApiSchema.NoContent,
    error
  }).annotate(
    OpenApi.Description,
    "Give a session a title of at most 200 characters; an empty one takes it away."
  ),
  HttpApiEndpoint.delete("removeSession", "/api/v1/os/sessions/:key", {
    params: key,
    success: HttpApiSchema.NoContent,
    error
  }).annotate(
    OpenApi.Description,
    "Stop a session's work and forget it. 409 while it has forks, whose keys are in the details: what was said in it is part of them."
  ),
  HttpApiEndpoint.post("forkSession", "/api/v1/os/sessions/:key/fork", {
    params: key,
    payload: Api.ForkSession,
    success: Api.Forked.pipe(HttpApiSchema.status(201)),
    error
  }).annotate(
    OpenApi.Description,
    "Begin a new session with what was said in this one, up to an answered turn. It is shared, not copied, and this session stays as it is; messages that wait or run are not in the fork. 404 without such a session or turn, 409 when the key is taken."
  ),
  HttpApiEndpoint.post("sendMessage", "/api/v1/os/messages/send", {
    payload: Api.SendMessage,
    success: Api.SentMessage.pipe(HttpApiSchema.status(202)),
    error
  }).annotate(
    OpenApi.Description,
    "Send a message without waiting. The same `id` is the same message. `images`: at most 8 data: URLs of png, jpeg, gif or webp, of gateway.max_image_bytes together."
  ),
  HttpApiEndpoint.get("message", "/api/v1/os/messages/:id", {
    params: { id: Schema.String },
    success: Api.MessageStatus,
    error
  }).annotate(OpenApi.Description, "What became of a message, and when."),
  HttpApiEndpoint.get("channels", "/api/v1/os/channels", {
    success: Schema.Struct({ channels: Schema.Array(Api.Channel) }),
    error
  }),
  HttpApiEndpoint.get("lanes", "/api/v1/os/lanes", {
    success: Api.Lanes,
    error
  }).annotate(OpenApi.Description, "Sessions that are at work or paused now."),
  HttpApiEndpoint.post("controlLanes", "/api/v1/os/lanes/:action", {
    params: { action: Schema.Literals(["pause", "resume"]) },
    success: HttpApiSchema.NoContent,
    error
  }).annotate(
    OpenApi.Description,
    "Pause or resume all sessions: while paused nothing new starts, and messages are accepted as always. Lasts until a restart."
  ),
  HttpApiEndpoint.post("controlLane", "/api/v1/os/lanes/:key/:action", {
    params: { ...key, action: Schema.Literals(["stop", "abort", "pause", "resume"]) },
    success: HttpApiSchema.NoContent,
    error
  }).annotate(
    OpenApi.Description,
    "Stop what waits and the run of a session, abort only its run (404 when there is none), or pause and resume it, which lasts over a restart."
  ),
  HttpApiEndpoint.post("cancelMessage", "/api/v1/os/messages/:id/cancel", {
    params: { id: Schema.String },
    success: HttpApiSchema.NoContent,
    error
  }).annotate(
    OpenApi.Description,
    "Cancel one message: a waiting one leaves its queue, one that is being answered takes its run with it. 409 when it has ended."
  ),
  HttpApiEndpoint.get("approvals", "/api/v1/os/approvals", {
    query: { limit: Schema.optionalKey(count) },
    success: Schema.Struct({ approvals: Schema.Array(Api.Approval) }),
    error
  }).annotate(OpenApi.Description, "Tool calls that wait for an owner's decision, oldest first."),
  HttpApiEndpoint.post("decideApproval", "/api/v1/os/approvals/:id", {
    params: { id: Schema.String },
    payload: Api.DecideApproval,
    success: Api.DecidedApproval,
    error
  }).annotate(
    OpenApi.Description,
    "Approve or deny a call; its run then goes on. The first decision counts, another one is 409."
  ),
  HttpApiEndpoint.get("usage", "/api/v1/os/usage", {
    query: {
      by: Schema.optionalKey(Api.UsageReport.fields.by),
      since: Schema.optionalKey(Schema.String),
      until: Schema.optionalKey(Schema.String),
      session_key: Schema.optionalKey(Schema.String),
      sender: Schema.optionalKey(Schema.String),
      agent: Schema.optionalKey(Schema.String),
      model: Schema.optionalKey(Schema.String),
      limit: Schema.optionalKey(count)
    },
    success: Api.UsageReport,
    error
  }).annotate(
    OpenApi.Description,
    "Tokens and money of model calls, summed by day, session, sender, model or agent, of the last 30 days unless `since` and `until` say others (days in UTC, both included). Days newest first, all else the most expensive first."
  ),
  HttpApiEndpoint.get("models", "/api/v1/os/models", {
    success: Schema.Struct({ models: Schema.Array(Api.Model), resting: Schema.Array(Api.Resting) }),
    error
  }).annotate(
    OpenApi.Description,
    "Models that agents and aliases name, and what is left alone after failures."
  ),
  HttpApiEndpoint.get("checks", "/api/v1/os/checks", {
    query: { offline: Schema.optionalKey(count) },
    success: Schema.Struct({ checks: Schema.Array(Api.Check) }),
    error
  }).annotate(
    OpenApi.Description,
    "Every check with what was found, those that call a provider included unless `offline=1`."
  ),
  HttpApiEndpoint.post("setUp", "/api/v1/os/setup", {
    payload: Api.SetUp,
    success: Api.SetUpDone.pipe(HttpApiSchema.status(201)),
    error
  }).annotate(
    OpenApi.Description,
    "Write the first configuration file of a gateway that was started without one; it is checked before, readable by its owner only, and counts after a restart. 409 when there is a file."
  ),
  HttpApiEndpoint.post("newCode", "/api/v1/os/codes", {
    success: Schema.Struct({ code: Schema.String }).pipe(HttpApiSchema.status(201)),
    error
  }).annotate(
    OpenApi.Description,
    "A one-time code for a browser, valid for 10 minutes. Not with an API key."
  ),
  HttpApiEndpoint.post("createOrg", "/api/v1/os/orgs", {
    payload: Api.NewOrg,
    success: Api.Org.pipe(HttpApiSchema.status(201)),
    error
  }).annotate(OpenApi.Description, "Make an organisation. 409 when there is one of this name."),
  HttpApiEndpoint.get("orgs", "/api/v1/os/orgs", { query: named, success: Api.Orgs, error }).annotate(
    OpenApi.Description,
    "Organisations, by name."
  ),
  HttpApiEndpoint.post("createProject", "/api/v1/os/projects", {
    payload: Api.NewProject,
    success: Api.Project.pipe(HttpApiSchema.status(201)),
    error
  }).annotate(
    OpenApi.Description,
    "Make a project, whose sessions, keys, usage and audit log are its own. 404 without its organisation, 409 when there is one of this name."
  ),
  HttpApiEndpoint.get("projects", "/api/v1/os/projects", {
    query: named,
    success: Api.Projects,
    error
  }).annotate(OpenApi.Description, "Projects of all organisations, by name."),
  HttpApiEndpoint.post("createUser", "/api/v1/os/users", {
    payload: Api.NewUser,
    success: Api.User.pipe(HttpApiSchema.status(201)),
    error
  }).annotate(
    OpenApi.Description,
    "Make a user of the organisation. A key that is made for somebody new does so by itself. 409 when there is one of this name."
  ),
  HttpApiEndpoint.get("users", "/api/v1/os/users", { query: named, success: Api.Users, error }).annotate(
    OpenApi.Description,
    "Users of the organisation, by id."
  ),
  HttpApiEndpoint.patch("changeUser", "/api/v1/os/users/:id", {
    params: { id: Schema.String },
    payload: Api.UserChange,
    success: Api.User,
    error
  }).annotate(
    OpenApi.Description,
    "Give a user another role, which counts for keys that are made from then on, or disable or enable them: keys of a disabled user are refused, at once here and within half a minute in other gateways on the same database."
  ),
  HttpApiEndpoint.post("setAgent", "/api/v1/os/agents", {
    payload: Api.SetAgent,
    success: Api.AgentSet,
    error
  }).annotate(
    OpenApi.Description,
    "Set an agent of the project, which stands before the configuration's of the same name. It counts from the next run on, in other gateways on the same database within a minute. 400 with every problem in the details; 409 when it is not of the revision."
  ),
  HttpApiEndpoint.get("agents", "/api/v1/os/agents", {
    query: named,
    success: Api.ProjectAgents,
    error
  }).annotate(
    OpenApi.Description,
    "The project's own agents, by name. Those of the configuration are in /v1/models too."
  ),
  HttpApiEndpoint.delete("deleteAgent", "/api/v1/os/agents/:name", {
    params: { name: Schema.String },
    success: HttpApiSchema.NoContent,
    error
  }).annotate(OpenApi.Description, "The configuration's agent of this name is there again, if it has one."),
  HttpApiEndpoint.post("queryDatabase", "/api/v1/os/database/query", {
    payload: Api.SqlQuery,
    success: Api.SqlRows,
    error
  }).annotate(
    OpenApi.Description,
    "Ask the project's own database, in its own SQL (SQLite's in dev, PostgreSQL's in prod). It changes nothing, whatever it says, and reaches nothing but the project's tables. 400 sql_refused with the database's words; 422 sql_too_long or sql_too_big; 409 when this gateway keeps no such databases."
  ),
  HttpApiEndpoint.post("executeInDatabase", "/api/v1/os/database/execute", {
    payload: Api.SqlExecute,
    success: Api.SqlChanges,
    error
  }).annotate(
    OpenApi.Description,
    "Change the project's own database: all of the statements or none, durable when it is answered. 400 sql_refused names the statement, from 0; 507 database_full; 500 sql_uncertain when the database was lost while it committed. The audit log is told."
  ),
  HttpApiEndpoint.post("createKey", "/api/v1/os/keys", {
    payload: Api.NewApiKey,
    success: Api.MadeApiKey.pipe(HttpApiSchema.status(201)),
    error
  }).annotate(
    OpenApi.Description,
    "Make an API key. It is told in this answer and never again; a digest of it is kept. A name that does not begin with agent: means a session of the key's user: agent:<agent>:user:<user>:<name>. 409 when a key that is not revoked has the name, when the user is disabled, and when their role does not allow a scope."
  ),
  HttpApiEndpoint.get("keys", "/api/v1/os/keys", { query: named, success: Api.ApiKeys, error }).annotate(
    OpenApi.Description,
    "API keys, oldest first, revoked and expired ones too."
  ),
  HttpApiEndpoint.delete("revokeKey", "/api/v1/os/keys/:id", {
    params: { id: Schema.String },
    success: HttpApiSchema.NoContent,
    error
  }).annotate(
    OpenApi.Description,
    "Refuse a key from now on, and close its sockets: at once here, within half a minute in other gateways on the same database. 409 when it is revoked already."
  ),
  HttpApiEndpoint.post("setCredential", "/api/v1/os/credentials", {
    payload: Api.SetCredential,
    success: HttpApiSchema.NoContent,
    error
  }).annotate(
    OpenApi.Description,
    "Keep a credential, encrypted, for a provider that names it in api_key_stored; it counts at once. No route gives it back."
  ),
  HttpApiEndpoint.get("credentials", "/api/v1/os/credentials", {
    query: named,
    success: Api.Credentials,
    error
  }).annotate(OpenApi.Description, "Stored credentials by name, without their value."),
  HttpApiEndpoint.delete("deleteCredential", "/api/v1/os/credentials/:name", {
    params: { name: Schema.String },
    success: HttpApiSchema.NoContent,
    error
  }).annotate(OpenApi.Description, "Forget a credential."),
  HttpApiEndpoint.post("rotateCredentials", "/api/v1/os/credentials/rotate", {
    payload: Schema.Struct({}),
    success: Api.Rotated,
    error
  }).annotate(
    OpenApi.Description,
    "Encrypt with the present key what an older one encrypted. An empty object as body."
  ),
  HttpApiEndpoint.get("audit", "/api/v1/os/audit", {
    query: {
      action: Schema.optionalKey(AuditAction),
      actor: Schema.optionalKey(Schema.String),
      since: Schema.optionalKey(count),
      until: Schema.optionalKey(count),
      before: Schema.optionalKey(Schema.String),
      limit: Schema.optionalKey(count)
    },
    success: Api.AuditPage,
    error
  }).annotate(
    OpenApi.Description,
    "Who did what, newest first; `next` is the `before` of the next page. Times are ms since 1970."
  )
)

const auth = HttpApiGroup.make("auth").add(
  HttpApiEndpoint.post("redeemCode", "/auth/code", {
    payload: Schema.Struct({ code: Schema.String }),
    success: HttpApiSchema.NoContent,
    error
  }).annotate(OpenApi.Description, "Exchange a one-time code for the browser's cookie."),
  HttpApiEndpoint.get("me", "/auth/me", { success: Api.Me, error })
)

const text = Schema.String.pipe(HttpApiSchema.asText())
const probes = HttpApiGroup.make("probes").add(
  HttpApiEndpoint.get("health", "/health", { success: Schema.Struct({ status: Schema.Literal("ok") }) }),
  HttpApiEndpoint.get("ready", "/ready", {
    success: Schema.Struct({
      status: Schema.Literals(["ready", "not_ready", "stopping"]),
      model: Schema.String,
      demo: Schema.Boolean,
      setting: Schema.optionalKey(Schema.String),
      checks: Schema.Array(Schema.Struct({ name: Schema.String, status: Schema.String }))
    })
  }).annotate(OpenApi.Description, "200 when everything it depends on works, else 503."),
  HttpApiEndpoint.get("metrics", "/metrics", { success: text, error }),
  HttpApiEndpoint.get("openapi", "/openapi.json", { success: Schema.Unknown, error }),
  HttpApiEndpoint.get("docs", "/docs", { success: text, error })
)

export const OpenCrawApi = HttpApi.make("opencraw")
  .add(v1)
  .add(os)
  .add(auth)
  .add(probes)
  .annotate(OpenApi.Title, "OpenCraw")
  .annotate(
    OpenApi.Description,
    "All routes but /health, /ready, /auth/code and the page need a bearer token (the operator's or an API key) or the browser's cookie. A key has scopes: chat writes as its user and uses that user's own sessions, read reads everything, admin may do everything; each route says which it needs. A key acts in its own project; the operator, the owner and admins of local/default may name another one in the header x-opencraw-project (org/project), on a WebSocket in ?project=. Bodies: at most gateway.max_body_bytes, 64 levels and 10,000 keys; of equal keys the last one counts; whole numbers beyond 2^53 are refused. WebSocket: /ws?token=&sender_id=&session_key=&after=SEQ with JSON texts, each with a type. A client sends message {id, content}, received {id}, stop, cancel {id}; it is told hello, ack {id, message_id, seq}, refused, outcome, user, run, typing, delta, tool, approval {id, run_id, tool, arguments, state, expires_at}, message {id, seq, reply_to, answers, content} and error. Deltas are provisional, the message is the truth. /ws needs the scope chat. /ws/lanes?token= needs the scope read and only tells: lanes {paused, total, lanes}, at once and when something changed, at most twice a second."
  )

const methods = ["get", "post", "patch", "delete"] as const

/** `/sessions/:key` as OpenAPI writes it. */
const pathOf = (path: string): string => path.replace(/:(\w+)\*?/g, "{$1}")

/** What a route needs, for people. */
const needs = (access: Door["access"]): string => {
  if (access === "open") return "Open."
  if (access === "any") return "Any key will do."
  const scopes = opens[access].filter((scope) => scope !== "admin")
  return scopes.length === 0
    ? "Needs the scope admin."
    : access === "see"
      ? "Needs the scope chat, for one's own sessions, or read."
      : `Needs the scope ${scopes.join(" or ")}.`
}

type Door = Pick<Route, "method" | "path" | "access">

/** The OpenAPI document; what each route needs is read off the routes themselves. */
export const document = (routes: ReadonlyArray<Door>): OpenApi.OpenAPISpec => {
  const spec = OpenApi.fromApi(OpenCrawApi)
  const doors = new Map(routes.map((route) => [`${route.method.toLowerCase()} ${pathOf(route.path)}`, route]))
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const method of methods) {
      const operation = item[method]
      const access = doors.get(`${method} ${path}`)?.access
      if (operation === undefined || access === undefined) continue
      operation.description = `${operation.description ?? ""} ${needs(access)}`.trim()
      operation.security =
        access === "open" ? [] : [{ bearer: [...opens[access]] }, { cookie: [...opens[access]] }]
    }
  }
  spec.components.securitySchemes = {
    ...spec.components.securitySchemes,
    bearer: { type: "http", scheme: "bearer" },
    cookie: { type: "apiKey", in: "cookie", name: cookieName }
  }
  return spec
}

const escape = (value: string) =>
  value.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;")

const style =
  "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}" +
  "section{border-top:1px solid #ddd;padding:1rem 0}h2{font-size:1rem;margin:0}code{font:14px ui-monospace,monospace}" +
  "b{display:inline-block;min-width:4.5rem}pre{background:#f5f5f5;padding:.75rem;overflow:auto;font-size:13px}" +
  "@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}pre{background:#222}section{border-color:#333}}"

const block = (title: string, value: unknown) =>
  value === undefined
    ? ""
    : `<details><summary>${title}</summary><pre>${escape(JSON.stringify(value, null, 2))}</pre></details>`

/** The same for people: one HTML page without scripts, so that it needs nothing from elsewhere. */
export const page = (spec: OpenApi.OpenAPISpec): string => {
  const sections = Object.entries(spec.paths).flatMap(([path, item]) =>
    methods.flatMap((method) => {
      const operation = item[method]
      if (operation === undefined) return []
      const { description, parameters, requestBody, responses } = operation
      return [
        `<section><h2><b>${escape(method.toUpperCase())}</b><code>${escape(path)}</code></h2><p>${escape(
          description ?? ""
        )}</p>${block("Parameters", parameters.length === 0 ? undefined : parameters)}${block(
          "Body",
          requestBody
        )}${block("Responses", responses)}</section>`
      ]
    })
  )
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>OpenCraw API</title><style>${style}</style></head><body><h1>OpenCraw API</h1><p>${escape(
    spec.info.description ?? ""
  )} The whole document: <a href="/openapi.json">/openapi.json</a>.</p>${sections.join("")}<h1>Shapes</h1>${Object.entries(
    spec.components.schemas
  )
    .map(([name, schema]) => block(escape(name), schema))
    .join("")}</body></html>`
}
