/** `opencraw chat` and `opencraw send`: talking over the WebSocket of the running gateway. */
import { createInterface } from "node:readline"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Settings from "#layers/platform/Settings.ts"
import * as Api from "#src/gateway/apiSchemas.ts"
import * as ChatView from "#src/gateway/cli/ChatView.ts"
import { exitCodes } from "#src/gateway/cli/exitCodes.ts"
import type { Given } from "#src/gateway/cli/parse.ts"
import * as render from "#src/gateway/cli/render.ts"
import * as ChatSocket from "../ChatSocket.ts"
import * as GatewayClient from "../GatewayClient.ts"
import * as RunningFile from "../RunningFile.ts"
import { newMessageId, optionsOf, print, printJson, readInput, wrong } from "./terminal.ts"

const sessionOf = ({ values }: Given) => values.get("session") ?? "main"

/** The client, known to be let in. */
const admitted = Effect.fnUntraced(function* (given: Given) {
  const client = yield* GatewayClient.connect(optionsOf(given))
  const me = yield* client.call(Api.Me, "GET", "/auth/me")
  // A spelling that is no session key is refused here, not by a socket that never opens.
  const path = `/api/v1/os/sessions/${encodeURIComponent(sessionOf(given))}/messages?limit=1`
  yield* client.call(Schema.Unknown, "GET", path)
  const { config } = yield* Settings.load(optionsOf(given)).pipe(Effect.orDie)
  const dataDir = config.runtime.data_dir ?? ""
  return { client, me, url: () => RunningFile.read(dataDir)?.url }
})

/** One conversation: the socket, the state between, and who is told. */
class Talk {
  #state: ChatView.ChatState
  readonly #socket: ChatSocket.ChatSocket
  readonly #show: (text: string) => void
  readonly #ended: (ending: ChatView.Ending) => void

  constructor(
    options: Pick<ChatSocket.Options, "url" | "token" | "session" | "project">,
    show: (text: string) => void,
    ended: (ending: ChatView.Ending) => void,
    begin: ChatView.ChatState = ChatView.initial
  ) {
    this.#state = begin
    this.#show = show
    this.#ended = ended
    this.#socket = ChatSocket.open({
      ...options,
      after: () => this.#state.seen,
      onFrame: (frame) => this.#take(ChatView.received(this.#state, frame)),
      onLost: (isFirst) => this.#take(ChatView.lost(this.#state, isFirst))
    })
  }

  write(id: string, text: string): void {
    this.#take(ChatView.written(this.#state, id, text))
  }

  stop(): void {
    this.#socket.send({ type: "stop" })
  }

  /** Nothing written here waits for its end. */
  get isQuiet(): boolean {
    return this.#state.open.length === 0
  }

  get lastMessageId(): string | undefined {
    return this.#state.lastMessageId
  }

  close(): void {
    this.#socket.close()
  }

  #take(step: ChatView.Step): void {
    this.#state = step.state
    if (step.print !== "") this.#show(step.print)
    for (const frame of step.send) this.#socket.send(frame)
    for (const ending of step.ended) this.#ended(ending)
  }
}

const chatHelp = `  /stop         stop the answer that is being written, and what waits
  /session KEY  go on in another session
  /trace        what became of the last message
  /queue, /approve, /deny and the gateway's other commands work too
  /quit         leave (what was sent is answered all the same)
`

export const chat = Effect.fn("cli.chat")(function* (given: Given) {
  const { client, me, url } = yield* admitted(given)
  const isTerminal = process.stdin.isTTY && process.stdout.isTTY
  let session = sessionOf(given)
  if (isTerminal) {
    const model = me.demo ? `${me.model}: a demo; set ${me.setting}` : me.model
    print(`${session} on ${client.url} (${model}). /help tells more.\n`)
  }
  const context = yield* Effect.context()
  return yield* Effect.callback<number>((resume) => {
    const input = createInterface({
      input: process.stdin,
      output: process.stdout,
      terminal: isTerminal,
      prompt: "> "
    })
    let hasEnded = false
    let hasLeft = false
    const prompt = () => {
      if (isTerminal && !hasLeft) input.prompt()
    }
    const talkIn = (name: string) =>
      new Talk({ url, token: client.token, session: name, project: client.project }, print, () => {
        if (hasEnded && talk.isQuiet) leave()
        else if (isTerminal) input.prompt()
      })
    let talk = talkIn(session)
    const leave = () => {
      if (hasLeft) return
      hasLeft = true
      talk.close()
      input.close()
      resume(Effect.succeed(exitCodes.ok))
    }
    const showTrace = () => {
      const id = talk.lastMessageId
      if (id === undefined) return print("Nothing was sent yet.\n")
      Effect.runForkWith(context)(
        client.call(Api.MessageStatus, "GET", `/api/v1/os/messages/${encodeURIComponent(id)}`).pipe(
          Effect.match({ onSuccess: render.trace, onFailure: (error) => `! ${error.message}\n` }),
          Effect.map((text) => {
            print(text)
            prompt()
          })
        )
      )
    }
    const command = (text: string) => {
      const [name, ...rest] = text.split(/\s+/)
      switch (name) {
        case "/stop":
          return talk.stop()
        case "/session": {
          const wanted = rest.join(" ")
          if (wanted === "") return print(`${session}\n`)
          talk.close()
          session = wanted
          talk = talkIn(session)
          return
        }
        case "/trace":
          return showTrace()
        case "/quit":
        case "/exit":
          return leave()
        case "/help":
          return print(chatHelp)
        default:
          // The gateway's own commands, such as /queue and /approve; what is none of them is a text.
          return talk.write(newMessageId(), text)
      }
    }
    input.on("line", (text) => {
      const trimmed = text.trim()
      if (trimmed.startsWith("/")) command(trimmed)
      else if (trimmed !== "") talk.write(newMessageId(), text)
      if (talk.isQuiet && trimmed !== "/trace") prompt()
    })
    // The end of a pipe: what was written is answered first. Ctrl-D on a terminal leaves at once.
    input.on("close", () => {
      hasEnded = true
      if (isTerminal || talk.isQuiet) leave()
    })
    prompt()
    return Effect.sync(() => {
      talk.close()
      input.close()
    })
  })
})

export const send = Effect.fn("cli.send")(function* (given: Given) {
  const { values } = given
  const said = values.get("TEXT")
  if (said === undefined && process.stdin.isTTY)
    return yield* wrong("send needs a text, or one on standard input")
  const text = said === undefined || said === "-" ? (yield* readInput).trimEnd() : said
  if (text.trim() === "") return yield* wrong("the message is empty")
  const id = values.get("id") ?? newMessageId()
  const { client, url } = yield* admitted(given)
  const body = { session_key: sessionOf(given), content: text, id }
  const sent = yield* client.call(Api.SentMessage, "POST", "/api/v1/os/messages/send", body)
  if (values.has("no-wait")) {
    if (values.has("json")) printJson(sent)
    else print(`${sent.message_id}\n`)
    return exitCodes.ok
  }
  const isStreamed = process.stdout.isTTY && !values.has("json")
  const ending = yield* Effect.callback<ChatView.Ending>((resume) => {
    const talk = new Talk(
      { url, token: client.token, session: sessionOf(given), project: client.project },
      (shown) => {
        if (isStreamed) print(shown)
        else if (shown.startsWith("! the gateway is away")) process.stderr.write(shown)
      },
      (each) => {
        if (each.id !== id) return
        talk.close()
        resume(Effect.succeed(each))
      },
      // Its answer stands after it, even if it was given long ago to the same id.
      ChatView.after(sent.seq)
    )
    talk.write(id, text)
    return Effect.sync(() => talk.close())
  })
  if (values.has("json")) {
    printJson({
      id,
      message_id: sent.message_id,
      outcome: ending.outcome,
      ...(ending.content === undefined ? {} : { content: ending.content }),
      ...(ending.reason === undefined ? {} : { reason: ending.reason })
    })
  } else if (!isStreamed && ending.content !== undefined) {
    print(`${ending.content.trimEnd()}\n`)
  }
  if (ending.outcome === "answered" || ending.content !== undefined || ending.outcome === "silent")
    return exitCodes.ok
  if (!values.has("json") && !isStreamed) {
    process.stderr.write(`${ending.outcome}${ending.reason === undefined ? "" : `: ${ending.reason}`}\n`)
  }
  return exitCodes.negative
})
