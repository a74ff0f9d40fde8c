/**
 * The page's way to what `opencraw config init` does: the first configuration, for a gateway that was started without one.
 *
 * Owns: what may be asked for, and how a refusal is told. The key goes into the file and nowhere else.
 * Does not own: checking and writing (`ConfigFile`). Nothing changes in the running gateway.
 */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { Audit } from "#src/access/Audit.ts"
import { builtIn, split } from "#src/model/Models.ts"
import { format, nearest } from "#src/setting/Problem.ts"
import { ApiError, invalid } from "./ApiError.ts"
import type * as Api from "./apiSchemas.ts"
import { actorOf } from "./Auth.ts"
import { configText } from "./cli/configText.ts"
import { ConfigFile, type ConfigFileError } from "./ConfigFile.ts"
import { Gateway } from "./GatewaySettings.ts"
import type { JsonObject } from "./Json.ts"
import { readStrict } from "./readBody.ts"
import type { Call, Route } from "./Routing.ts"

/** What makes a written file count. */
const next =
  "Restart the gateway: Ctrl-C where it runs, then npm start (or opencraw serve). The new configuration counts from then on."

const keys = new Set(["model", "api_key", "base_url", "channel"])
const maxText = 2000

/** A text without spaces around it; absent and empty are the same. */
const textOf = (body: JsonObject, key: string) => {
  const value = Object.hasOwn(body, key) ? body[key] : undefined
  if (value === undefined) return Effect.succeed(undefined)
  if (typeof value !== "string") return Effect.fail(invalid(key, `${key} must be a string`))
  if (value.length > maxText) {
    return Effect.fail(invalid(key, `${key} must have at most ${maxText} characters`))
  }
  const text = value.trim()
  return Effect.succeed(text === "" ? undefined : text)
}

const readAnswers = Effect.fnUntraced(function* (body: JsonObject) {
  const model = yield* textOf(body, "model")
  const apiKey = yield* textOf(body, "api_key")
  const baseUrl = yield* textOf(body, "base_url")
  const channel = yield* textOf(body, "channel")
  const parts = model === undefined ? undefined : split(model)
  if (model === undefined || parts === undefined) {
    return yield* invalid("model", "model must read provider/model, such as openai/gpt-5")
  }
  if (!/^[A-Za-z0-9_-]+$/.test(parts.provider)) {
    return yield* invalid("model", "a provider's name is of letters, digits, _ and -")
  }
  if (baseUrl === undefined && !Object.hasOwn(builtIn, parts.provider)) {
    const meant = nearest(parts.provider, Object.keys(builtIn))
    const hint = meant === undefined ? "" : ` (did you mean ${meant}?)`
    return yield* invalid(
      "model",
      `no provider named ${parts.provider} is built in: it needs a base_url${hint}`
    )
  }
  // Anything else cannot stand in a header, and `${NAME}` would be read as a variable.
  if (apiKey !== undefined && (!/^[\x21-\x7e]+$/.test(apiKey) || apiKey.includes("${"))) {
    return yield* invalid("api_key", "a key is one word of plain characters")
  }
  if (channel !== undefined && channel !== "webchat") {
    return yield* invalid("channel", "the first channel is webchat")
  }
  return { model, apiKey, baseUrl }
})

/** The key of the request that a problem in the file comes from. */
const paramOf = (path: string): string =>
  path.endsWith(".api_key") ? "api_key" : path.endsWith(".base_url") ? "base_url" : "model"

const refusal = ({ reason, problems, detail }: ConfigFileError): ApiError => {
  switch (reason) {
    case "exists":
      return alreadyConfigured
    case "unusable":
      return invalid(paramOf(problems[0]?.path ?? ""), problems.map(format).join("; "), "unusable_config")
    case "not_writable":
      return new ApiError({
        status: 500,
        code: "config_not_writable",
        message: `the folder that the gateway was started in cannot be written (${detail}); opencraw config init --file FILE writes elsewhere`
      })
  }
}

const alreadyConfigured = new ApiError({
  status: 409,
  code: "already_configured",
  message: "there is a configuration file already; it was left alone"
})

export const make = Effect.gen(function* () {
  const audit = yield* Audit
  const configFile = yield* ConfigFile
  const settings = yield* Gateway

  const setUp = Effect.fnUntraced(function* ({ request, query, principal }: Call) {
    for (const key of query.keys()) {
      return yield* invalid(
        key.toWellFormed().slice(0, 100),
        "this parameter is not known here",
        "unknown_key"
      )
    }
    const answers = yield* readAnswers(yield* readStrict(request, settings.get().max_body_bytes, keys))
    const { model } = answers
    const text = configText({ ...answers, apiKeyEnv: undefined, port: undefined })
    const tell = (written: string) =>
      audit.record({
        actor: actorOf(principal).actor,
        action: "config.written",
        subject: written,
        detail: { model }
      })
    // Whoever asked may go meanwhile: what was written is told.
    const file = yield* configFile
      .create(text, model)
      .pipe(Effect.mapError(refusal), Effect.tap(tell), Effect.uninterruptible)
    yield* Effect.logInfo("a configuration was written; it counts after a restart").pipe(
      Effect.annotateLogs({ file, model })
    )
    return HttpServerResponse.jsonUnsafe({ file, model, next } satisfies typeof Api.SetUpDone.Type, {
      status: 201
    })
  })

  const routes: ReadonlyArray<Route> = [
    { method: "POST", path: "/api/v1/os/setup", access: "admin", isShared: true, handle: setUp }
  ]
  return routes
})
