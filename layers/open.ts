/** `opencraw open`: asks the running gateway of this data directory for a one-time link to its page. */
import { readFileSync } from "node:fs"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { derivedToken, loadKey } from "#layers/gateway/NodeGatewaySecrets.ts"
import * as Settings from "#layers/platform/Settings.ts"
import { exitCodes, runningFile } from "#layers/serve.ts"

const running = (dataDir: string): { readonly url: string } | undefined => {
  try {
    const found: unknown = JSON.parse(readFileSync(runningFile(dataDir), "utf8"))
    return typeof found === "object" && found !== null && "url" in found && typeof found.url === "string"
      ? { url: found.url }
      : undefined
  } catch {
    return undefined
  }
}

/** Prints the link; the result is the exit code. */
export const open = Effect.fn("open")(
  function* (options: Settings.LoadOptions) {
    const { config } = yield* Settings.load(options)
    const dataDir = config.runtime.data_dir ?? ""
    const gateway = running(dataDir)
    if (gateway === undefined) {
      process.stderr.write(`No gateway runs on the data directory ${dataDir}. Start one: npm start\n`)
      return exitCodes.portInUse
    }
    const token =
      config.gateway.token === undefined
        ? derivedToken(yield* loadKey(dataDir))
        : Redacted.value(config.gateway.token)
    const code = yield* Effect.tryPromise(async () => {
      const response = await fetch(`${gateway.url}/api/v1/os/codes`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: "{}"
      })
      const body: unknown = await response.json()
      return typeof body === "object" && body !== null && "code" in body ? String(body.code) : undefined
    }).pipe(Effect.orElseSucceed(() => undefined))
    if (code === undefined) {
      process.stderr.write(`The gateway at ${gateway.url} does not answer or refused the token.\n`)
      return exitCodes.portInUse
    }
    process.stdout.write(`${gateway.url}/#code=${code}\n`)
    return exitCodes.stopped
  },
  Effect.catch((error) =>
    Effect.sync(() => {
      process.stderr.write(`${error.message}\n`)
      return exitCodes.config
    })
  )
)
