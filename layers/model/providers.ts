/** Every kind of provider, spoken as it is in production; recorded when that is asked for. */
import * as Layer from "effect/Layer"
import * as Anthropic from "./Anthropic.ts"
import * as Demo from "./Demo.ts"
import * as Google from "./Google.ts"
import * as OpenAiChat from "./OpenAiChat.ts"
import * as OpenAiResponses from "./OpenAiResponses.ts"
import * as Recorder from "./Recorder.ts"
import * as Replay from "./Replay.ts"

/** Registers all kinds. */
export const layer = Layer.mergeAll(
  OpenAiChat.layer,
  OpenAiResponses.layer,
  Anthropic.layer,
  Google.layer,
  Replay.layer,
  Demo.layer
).pipe(Layer.provide(Recorder.layer))
