/** What the gateway's own files and port must be like: the page, the key file, the port. */
import { access, stat } from "node:fs/promises"
import { createServer } from "node:net"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { DataDir } from "#layers/platform/DataDir.ts"
import { type CheckResult, Checks } from "#src/check/Checks.ts"
import type { GatewaySettings } from "#src/gateway/GatewaySettings.ts"
import { keyFileName } from "./NodeGatewaySecrets.ts"
import { CannotListen, hosts, PortInUse } from "./NodeServer.ts"

const succeeds = (attempt: () => Promise<unknown>) =>
  Effect.promise(() =>
    attempt().then(
      () => true,
      () => false
    )
  )

/** Registers the check `page`. The API works without it. */
export const layerPage = (folder: string) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const run = Effect.map(
        succeeds(() => access(join(folder, "index.html"))),
        (isThere): CheckResult =>
          isThere
            ? { status: "ok", message: "the page is built" }
            : {
                status: "warning",
                message: `the page is not built (${folder}): in a checkout npm start builds it, else install the package again`
              }
      )
      yield* (yield* Checks).register({ name: "page", run })
    })
  )

/** What it means that others may read this file. `mode` is undefined for a missing file. */
export const judgeKeyFile = (file: string, mode: number | undefined): CheckResult =>
  mode !== undefined && (mode & 0o077) !== 0
    ? {
        status: "failed",
        message: `other users can read or change ${file}, from which the token derives: chmod 600 ${file}, and delete it for a new one if they may have read it`
      }
    : { status: "ok", message: "only you can read the gateway's key" }

/** Registers the check `key file`. */
export const layerKeyFile = Layer.effectDiscard(
  Effect.gen(function* () {
    const { path } = yield* DataDir
    const file = join(path, keyFileName)
    const run = Effect.promise(() =>
      stat(file).then(
        ({ mode }) => judgeKeyFile(file, process.platform === "win32" ? undefined : mode),
        () => judgeKeyFile(file, undefined)
      )
    )
    yield* (yield* Checks).register({ name: "key file", run })
  })
)

/** Whether the port could be listened on now. Not for a running gateway, which holds it. */
export const checkPort = ({ bind, port }: GatewaySettings): Effect.Effect<CheckResult> =>
  Effect.callback((resume) => {
    const host = hosts[bind]
    const server = createServer()
    const done = (result: CheckResult) => resume(Effect.succeed(result))
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const error =
        cause.code === "EADDRINUSE"
          ? new PortInUse({ host, port })
          : new CannotListen({ host, port, detail: cause.message })
      done({ status: "failed", message: error.message })
    })
    server.listen(port, host, () =>
      server.close(() =>
        done({
          status: "ok",
          message: port === 0 ? "any free port will do" : `port ${port} on ${host} is free`
        })
      )
    )
  })
