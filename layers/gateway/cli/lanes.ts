/** `opencraw lanes ...` and `opencraw cancel`: what the lanes are doing, and what people do to them. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Settings from "#layers/platform/Settings.ts"
import * as Api from "#src/gateway/apiSchemas.ts"
import type { CommandFailed } from "#src/gateway/cli/CommandFailed.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import type { Given } from "#src/gateway/cli/parse.ts"
import * as render from "#src/gateway/cli/render.ts"
import * as AgainSocket from "../AgainSocket.ts"
import * as GatewayClient from "../GatewayClient.ts"
import * as RunningFile from "../RunningFile.ts"
import { optionsOf, print, printJson } from "./terminal.ts"

const path = "/api/v1/os/lanes"
const connect = (given: Given) => GatewayClient.connect(optionsOf(given))

export const lanes = Effect.fn("cli.lanes")(function* (given: Given) {
  const client = yield* connect(given)
  // Before a socket that would not say why it never opens.
  const found = yield* client.call(Api.Lanes, "GET", path)
  if (given.values.has("watch")) return yield* watch(given, client)
  if (given.values.has("json")) printJson(found)
  else print(render.lanes(found, Date.now()))
  return exitCodes.ok
})

type Frame = typeof Api.LanesFrame.Type
const readFrame = Schema.decodeUnknownOption(Schema.fromJsonString(Api.LanesFrame))

/** The whole screen, from its first line. */
const clear = "\u001b[H\u001b[J"

const shown = ({ total, ...frame }: Frame): string => {
  const more = total - frame.lanes.length
  return render.lanes(frame, Date.now()) + (more > 0 ? `and ${more} more\n` : "")
}

/** Until it is interrupted. */
const watch = Effect.fnUntraced(function* (given: Given, { token, project }: GatewayClient.GatewayClient) {
  const { config } = yield* Settings.load(optionsOf(given)).pipe(Effect.orDie)
  const dataDir = config.runtime.data_dir ?? ""
  const isJson = given.values.has("json")
  const isDrawn = process.stdout.isTTY && !isJson
  return yield* Effect.callback<never>(() => {
    let last: Frame | undefined
    const draw = () => {
      if (last !== undefined) print(clear + shown(last))
    }
    const socket = AgainSocket.open({
      address: () => {
        const url = RunningFile.read(dataDir)?.url
        const query = new URLSearchParams({
          token: Redacted.value(token),
          ...(project === undefined ? {} : { project })
        })
        return url === undefined ? undefined : `${url.replace(/^http/, "ws")}/ws/lanes?${query.toString()}`
      },
      onText: (text) => {
        last = Option.getOrUndefined(readFrame(text))
        if (last === undefined) return false
        if (isDrawn) draw()
        else if (isJson) printJson(last)
        else print(`${shown(last)}\n`)
        return true
      },
      onLost: (isFirst) => {
        last = undefined
        if (isFirst) process.stderr.write("The gateway is away; trying again ...\n")
      }
    })
    // Ages go on while nothing changes.
    const timer = isDrawn ? setInterval(draw, 1000) : undefined
    return Effect.sync(() => {
      clearInterval(timer)
      socket.close()
    })
  })
})

const done = { stop: "stopped", abort: "aborted", pause: "paused", resume: "resumed" } as const

/** `lanes stop` and its neighbours: the last word of the command's name is what is done. */
export const control = Effect.fn("cli.lanes.control")(function* (given: Given) {
  const action = given.command.name.split(" ").at(-1) as keyof typeof done
  const key = given.values.get("KEY")
  const client = yield* connect(given)
  const to = key === undefined ? action : `${encodeURIComponent(key)}/${action}`
  yield* client.call(Schema.Undefined, "POST", `${path}/${to}`)
  if (given.values.has("json")) printJson({ action, ...(key === undefined ? {} : { session_key: key }) })
  else
    print(
      key === undefined ? `All sessions are ${done[action]}.\n` : `${render.plain(key)}: ${done[action]}.\n`
    )
  return exitCodes.ok
})

export const cancel: (given: Given) => Effect.Effect<number, CommandFailed> = Effect.fn("cli.cancel")(
  function* (given: Given) {
    const id = given.values.get("MESSAGE") ?? ""
    const client = yield* connect(given)
    yield* client.call(Schema.Undefined, "POST", `/api/v1/os/messages/${encodeURIComponent(id)}/cancel`)
    if (given.values.has("json")) printJson({ id })
    else print(`${render.plain(id)} is cancelled.\n`)
    return exitCodes.ok
  }
)
