/**
 * Asks each provider that an agent uses one tiny question, and says in words what is wrong.
 *
 * Owns: what an answer, a status or a failed connection means for the one who configured it; the clock, by the provider's own.
 * Does not own: real calls (`OpenAiChat`). It costs a few tokens, so it runs only when a person asks.
 */
import http from "node:http"
import https from "node:https"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { type CheckResult, Checks } from "#src/check/Checks.ts"
import { credentialsOf, split, withBuiltIn } from "#src/model/Models.ts"
import type { ProviderSettings } from "#src/model/ProviderSettings.ts"
import * as Anthropic from "./Anthropic.ts"
import * as Google from "./Google.ts"
import { isAboutKey, retryDelay } from "./googleErrors.ts"
import { parse } from "./json.ts"
import * as OpenAiChat from "./OpenAiChat.ts"
import * as OpenAiResponses from "./OpenAiResponses.ts"
import { bodyDetail, safeDetail } from "./providerHttp.ts"

/** A provider's answer, as far as it is judged. */
export interface Answer {
  readonly status: number
  readonly contentType: string
  readonly body: string
  /** The provider's clock against ours, ms; positive when ours is behind. */
  readonly clockOffMillis: number | undefined
}

/** No answer: the connection's error code. */
export interface Silence {
  readonly code: string
}

export interface Asked {
  /** `provider/model`. */
  readonly model: string
  /** Whose key it is; absent for the provider's own. */
  readonly profile?: string | undefined
  readonly settings: ProviderSettings
}

const failed = (message: string): CheckResult => ({ status: "failed", message })

const nameOf = ({ model }: Asked) => split(model)?.provider ?? model

/** What an answer means. Its text is told bounded and without the key. */
export const judgeAnswer = (asked: Asked, { status, contentType, body }: Answer): CheckResult => {
  const provider = nameOf(asked)
  const base = asked.settings.base_url ?? ""
  const key = asked.settings.api_key === undefined ? "" : Redacted.value(asked.settings.api_key)
  const detail = bodyDetail(body, (text) => safeDetail(text, key)).slice(0, 200)
  const said = detail === "" ? "" : ` ("${detail}")`
  const isPage = contentType.includes("text/html") || body.trimStart().startsWith("<")
  const wrongAddress = failed(
    `${base} is not the address of an API (it answered ${status}${isPage ? " with a web page" : ""}): set providers.${provider}.base_url; it usually ends in /v1`
  )
  if (status >= 200 && status < 300) {
    return isPage ? wrongAddress : { status: "ok", message: `${asked.model} answers` }
  }
  if (status === 407) {
    return failed(`a proxy stands between here and ${base} and asks for a password: let ${base} pass it`)
  }
  const refusal = parse(body)
  // Who is told when to come back has not run out of money, whatever the words.
  const isBroke =
    /insufficient|quota|credit|billing|balance|payment/i.test(body) && retryDelay(refusal) === undefined
  if (status === 402 || ((status === 429 || status === 403 || status === 400) && isBroke)) {
    return failed(
      `the account at ${provider} is out of credit (${status})${said}: add some, or set another model`
    )
  }
  if (status === 401 || status === 403 || isAboutKey(refusal)) {
    const variable = asked.profile === undefined ? asked.settings.api_key_env : undefined
    const where = variable === undefined ? "" : `, or the variable ${variable}`
    const setting = asked.profile === undefined ? "api_key" : `profiles.${asked.profile}.api_key`
    return failed(
      `${provider} refused the key (${status})${said}: set providers.${provider}.${setting}${where}`
    )
  }
  const isAboutModel = !isPage && /model/i.test(body)
  if ((status === 404 || status === 400) && isAboutModel) {
    return failed(
      `${provider} has no model ${split(asked.model)?.model}${said}: set general.model to one it has`
    )
  }
  if (status === 404 || status === 405 || isPage) return wrongAddress
  if (status === 429) {
    return {
      status: "warning",
      message: `${provider} is limiting our rate now${said}: wait, or ask it for more`
    }
  }
  return failed(
    status >= 500
      ? `${provider} is failing (${status})${said}: look at its status page, or set another model`
      : `${provider} rejected a plain question (${status})${said}`
  )
}

/** What no answer means. */
export const judgeSilence = (asked: Asked, { code }: Silence): CheckResult => {
  const base = asked.settings.base_url ?? ""
  const section = `providers.${nameOf(asked)}.base_url`
  switch (code) {
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return failed(`the host of ${base} cannot be found: look at ${section}, and whether names resolve here`)
    case "ECONNREFUSED":
      return failed(`nothing listens at ${base}: start it, or set ${section}`)
    case "TIMEOUT":
      return failed(`${base} does not answer: look at ${section}, and at firewalls`)
    default:
      return /CERT|SSL|TLS|SIGNATURE|ISSUER/.test(code)
        ? failed(
            `the certificate of ${base} is not trusted (${code}): does a proxy open the connection? NODE_EXTRA_CA_CERTS names its certificate`
          )
        : failed(`${base} cannot be reached (${code}): look at ${section}, and at the network`)
  }
}

const warnOffMillis = 30_000
const failOffMillis = 300_000

/** What a difference of the clocks means. Expiries and times shown to people depend on ours. */
export const judgeClock = (offMillis: number | undefined): CheckResult => {
  if (offMillis === undefined) return { status: "ok", message: "no provider told its time" }
  const seconds = Math.round(Math.abs(offMillis) / 1000)
  if (seconds * 1000 < warnOffMillis) return { status: "ok", message: "the clock agrees with the provider's" }
  return {
    status: seconds * 1000 >= failOffMillis ? "failed" : "warning",
    message: `this machine's clock is ${seconds} s ${offMillis > 0 ? "behind" : "ahead of"} the provider's: set it (timedatectl set-ntp true)`
  }
}

type Environment = Readonly<Record<string, string | undefined>>

const isLocal = (host: string) => /^(localhost|127\.|\[?::1\]?$|10\.|192\.168\.)/.test(host)

const passesProxy = (host: string, exceptions: string): boolean =>
  exceptions
    .split(/[\s,]+/)
    .filter((each) => each !== "")
    .some(
      (each) =>
        each === "*" ||
        host === each.replace(/^\*?\.?/, "") ||
        host.endsWith(`.${each.replace(/^\*?\.?/, "")}`)
    )

/** Whether a proxy is set that the gateway will not use. Its address may hold a password and is not told. */
export const judgeProxy = (all: ReadonlyArray<Asked>, env: Environment): CheckResult => {
  const exceptions = env["NO_PROXY"] ?? env["no_proxy"] ?? ""
  for (const { settings } of all) {
    const url =
      settings.base_url !== undefined && URL.canParse(settings.base_url)
        ? new URL(settings.base_url)
        : undefined
    if (url === undefined || isLocal(url.hostname) || passesProxy(url.hostname, exceptions)) continue
    const names = url.protocol === "https:" ? ["HTTPS_PROXY", "https_proxy"] : ["HTTP_PROXY", "http_proxy"]
    const name = [...names, "ALL_PROXY", "all_proxy"].find((each) => (env[each] ?? "") !== "")
    if (name !== undefined) {
      return {
        status: "warning",
        message: `${name} is set, but the gateway calls ${url.hostname} directly, not through a proxy: if only the proxy leads out, let this machine pass it; else add ${url.hostname} to NO_PROXY`
      }
    }
  }
  return { status: "ok", message: "no proxy is in the way" }
}

const timeoutMillis = 15_000
const maxBodyChars = 16_384

/** The smallest question of each protocol, put where a real call goes. */
const questionOf = ({ model, settings }: Asked) => {
  const name = split(model)?.model
  const messages = [{ role: "user", content: "Reply with OK." }]
  switch (settings.kind) {
    case "openai-chat": {
      const endpoint = OpenAiChat.endpointOf(settings)
      if (endpoint === undefined) return undefined
      return { endpoint, body: { model: name, messages, [endpoint.words.limit]: 16 } }
    }
    case "openai-responses": {
      const endpoint = OpenAiResponses.endpointOf(settings)
      const body = { model: name, input: messages, max_output_tokens: 16, store: false }
      return endpoint === undefined ? undefined : { endpoint, body }
    }
    case "anthropic": {
      const endpoint = Anthropic.endpointOf(settings)
      return endpoint === undefined
        ? undefined
        : { endpoint, body: { model: name, messages, max_tokens: 16 } }
    }
    case "google": {
      const endpoint = Google.endpointOf(settings, name ?? "")
      const contents = [{ role: "user", parts: [{ text: "Reply with OK." }] }]
      return endpoint === undefined
        ? undefined
        : { endpoint, body: { contents, generationConfig: { maxOutputTokens: 16 } } }
    }
    default:
      return undefined
  }
}

/** Node's own client: `fetch` hides a 407 and refuses ports that a real call would use. */
const ask = ({ endpoint, body: question }: NonNullable<ReturnType<typeof questionOf>>) =>
  Effect.callback<Answer | Silence>((resume) => {
    const url = new URL(endpoint.origin + endpoint.path)
    const done = (found: Answer | Silence) => {
      clearTimeout(timer)
      resume(Effect.succeed(found))
    }
    const request = (url.protocol === "https:" ? https : http).request(url, {
      method: "POST",
      agent: false,
      headers: { ...endpoint.headers, accept: "application/json" }
    })
    const timer = setTimeout(() => {
      done({ code: "TIMEOUT" })
      request.destroy()
    }, timeoutMillis)
    request.on("error", (error: NodeJS.ErrnoException) => done({ code: error.code ?? error.message }))
    request.on("response", (response) => {
      const told = Date.parse(response.headers.date ?? "")
      const clockOffMillis = Number.isNaN(told) ? undefined : told - Date.now()
      let body = ""
      response.setEncoding("utf8")
      response.on("data", (part: string) => {
        if (body.length < maxBodyChars) body += part
      })
      response.on("error", (error: NodeJS.ErrnoException) => done({ code: error.code ?? error.message }))
      response.on("end", () =>
        done({
          status: response.statusCode ?? 0,
          contentType: response.headers["content-type"] ?? "",
          body,
          clockOffMillis
        })
      )
    })
    request.end(JSON.stringify(question))
    return Effect.sync(() => {
      clearTimeout(timer)
      request.destroy()
    })
  })

interface Found {
  readonly result: CheckResult
  readonly clockOffMillis: number | undefined
}

const examine = Effect.fnUntraced(function* (asked: Asked) {
  if (asked.settings.kind === "demo") {
    return {
      result: { status: "ok", message: "the built-in demo answers" },
      clockOffMillis: undefined
    } satisfies Found
  }
  if (asked.settings.api_key === undefined && asked.settings.api_key_stored !== undefined) {
    const result: CheckResult = {
      status: "warning",
      message: `${asked.model} was not asked: its key is the stored credential ${asked.settings.api_key_stored}, which only a running gateway reads, and only when it is there`
    }
    return { result, clockOffMillis: undefined } satisfies Found
  }
  const question = questionOf(asked)
  if (question === undefined) {
    const result: CheckResult = {
      status: "warning",
      message: `${asked.model} was not asked: doctor does not know how`
    }
    return { result, clockOffMillis: undefined } satisfies Found
  }
  // The client throws on what cannot be sent, such as a key with a line break.
  const answer = yield* Effect.catchDefect(ask(question), () =>
    Effect.succeed<Silence>({ code: "the request cannot be made: is the key whole?" })
  )
  return (
    "code" in answer
      ? { result: judgeSilence(asked, answer), clockOffMillis: undefined }
      : { result: judgeAnswer(asked, answer), clockOffMillis: answer.clockOffMillis }
  ) satisfies Found
})

const worst = (results: ReadonlyArray<CheckResult>): CheckResult => {
  const order = { failed: 0, warning: 1, ok: 2 } as const
  const sorted = results.toSorted((a, b) => order[a.status] - order[b.status])
  const first = sorted[0] ?? { status: "ok", message: "no agent uses a provider" }
  const told = sorted.filter(({ status }) => status === first.status).map(({ message }) => message)
  return { status: first.status, message: [...new Set(told)].join("\n") }
}

/** Registers `provider`, `clock` and `proxy`. `inUse` gives the models that agents answer with, and the providers. */
export const layer = (
  inUse: () => {
    readonly models: ReadonlyArray<string>
    readonly providers: Readonly<Record<string, ProviderSettings>>
  },
  env: Environment = process.env
) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const checks = yield* Checks
      const all = (): ReadonlyArray<Asked> => {
        const { models, providers } = inUse()
        const known = withBuiltIn(providers)
        return [...new Set(models)].flatMap((model) => {
          const settings = known[split(model)?.provider ?? ""]
          return settings === undefined
            ? []
            : credentialsOf(settings).map((credential) => ({ model, ...credential }))
        })
      }
      // The clock is read off the same answers.
      const found = yield* Effect.cachedWithTTL(
        Effect.suspend(() => Effect.forEach(all(), examine, { concurrency: "unbounded" })),
        "5 seconds"
      )
      yield* checks.register({
        name: "provider",
        when: "provider",
        run: Effect.map(found, (each) => worst(each.map(({ result }) => result)))
      })
      yield* checks.register({
        name: "clock",
        when: "provider",
        run: Effect.map(found, (each) =>
          judgeClock(each.find((one) => one.clockOffMillis !== undefined)?.clockOffMillis)
        )
      })
      yield* checks.register({
        name: "proxy",
        when: "doctor",
        run: Effect.sync(() => judgeProxy(all(), env))
      })
    })
  )
