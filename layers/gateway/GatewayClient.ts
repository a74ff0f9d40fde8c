/**
 * The command line's way to the running gateway of its data directory.
 *
 * Owns: finding it, its token, and what a refusal or a silence means for a person.
 * Does not own: the API's shapes (`src/gateway/apiSchemas`), nor the socket of a chat (`ChatSocket`).
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Settings from "#layers/platform/Settings.ts"
import { ErrorBody } from "#src/gateway/apiSchemas.ts"
import { CommandFailed } from "#src/gateway/cli/CommandFailed.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import { derivedToken, loadKey } from "./NodeGatewaySecrets.ts"
import * as RunningFile from "./RunningFile.ts"

/** The start of the gateway, as somebody would write it here. */
export const startHint = import.meta.url.endsWith(".ts") ? "npm start" : "opencraw serve"

export interface GatewayClient {
  readonly url: string
  readonly token: Redacted.Redacted
  /** `org/project` whose data is meant; that of the token without. */
  readonly project: string | undefined
  /** The decoded body of a request that succeeded. A refusal is told in the gateway's own words. */
  readonly call: <A>(
    schema: Schema.ConstraintDecoder<A>,
    method: "GET" | "POST" | "PATCH" | "DELETE",
    path: string,
    body?: unknown
  ) => Effect.Effect<A, CommandFailed>
}

const failed = (code: number, message: string) => new CommandFailed({ code, message })

const answerOf = Effect.fnUntraced(function* (
  { url, token, project }: Pick<GatewayClient, "url" | "token" | "project">,
  method: string,
  path: string,
  body: unknown
) {
  const response = yield* Effect.tryPromise({
    try: async (signal) => {
      const answer = await fetch(`${url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${Redacted.value(token)}`,
          ...(project === undefined ? {} : { "x-opencraw-project": project }),
          ...(body === undefined ? {} : { "content-type": "application/json" })
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal
      })
      return { status: answer.status, text: await answer.text() }
    },
    catch: () =>
      failed(
        exitCodes.unavailable,
        `The gateway at ${url} does not answer: it was killed, or it is starting. Start it again: ${startHint}`
      )
  })
  const parsed = yield* Effect.try({
    try: (): unknown => (response.text === "" ? undefined : JSON.parse(response.text)),
    catch: () =>
      failed(exitCodes.unavailable, `What answers at ${url} is not this gateway. Start it: ${startHint}`)
  })
  return { status: response.status, body: parsed }
})

const refusal = (url: string, status: number, body: unknown): CommandFailed => {
  if (status === 401) {
    return failed(
      exitCodes.refused,
      `The gateway at ${url} refused the token: it was started with another gateway.token. Run this with its configuration (--config FILE).`
    )
  }
  const told = Schema.decodeUnknownOption(ErrorBody)(body)
  const message = told._tag === "Some" ? told.value.error.message : `it answered ${status}`
  return failed(
    status === 403
      ? exitCodes.refused
      : status === 404 || status === 409
        ? exitCodes.negative
        : status === 400 || status === 422
          ? exitCodes.usage
          : exitCodes.unavailable,
    `The gateway refused: ${message}.`
  )
}

/** The gateway at this address. */
export const at = (url: string, token: Redacted.Redacted, project?: string): GatewayClient => ({
  url,
  token,
  project,
  call: Effect.fnUntraced(function* (schema, method, path, body) {
    const answer = yield* answerOf({ url, token, project }, method, path, body)
    if (answer.status >= 400) return yield* refusal(url, answer.status, answer.body)
    return yield* Schema.decodeUnknownEffect(schema)(answer.body).pipe(
      Effect.mapError(() =>
        failed(
          exitCodes.unavailable,
          `The gateway at ${url} answered in words this program does not know: use the same version of both.`
        )
      )
    )
  })
})

/** The gateway that was started with these settings; undefined when none has been. */
export const find = Effect.fnUntraced(function* (loaded: Settings.LoadedConfig, project?: string) {
  const { config } = loaded
  const dataDir = config.runtime.data_dir ?? ""
  const running = RunningFile.read(dataDir)
  if (running === undefined) return undefined
  const token =
    config.gateway.token ??
    (yield* loadKey(dataDir).pipe(
      Effect.map((key) => Redacted.make(derivedToken(key), { label: "gateway.token" })),
      Effect.mapError((error) => failed(exitCodes.dataDir, error.message))
    ))
  return at(running.url, token, project)
})

/** The running gateway of the configuration, or what to do about there being none. */
export const connect = Effect.fnUntraced(function* (
  options: Settings.LoadOptions & { readonly project?: string | undefined }
) {
  const loaded = yield* Settings.load(options).pipe(
    Effect.mapError((error) => failed(exitCodes.config, error.message))
  )
  const client = yield* find(loaded, options.project)
  if (client === undefined) {
    return yield* failed(
      exitCodes.unavailable,
      `No gateway runs on the data directory ${loaded.config.runtime.data_dir}. Start one: ${startHint}`
    )
  }
  return client
})
