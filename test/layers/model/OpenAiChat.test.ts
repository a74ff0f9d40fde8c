import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fake from "./fakeProvider.ts"

describe("OpenAiChat", () => {
  it.effect("streams text, then the end with what was used", () =>
    Effect.gen(function* () {
      const usage = { prompt_tokens: 7, completion_tokens: 3, prompt_tokens_details: { cached_tokens: 4 } }
      const fake = yield* Fake.make(
        Fake.streams(
          Fake.delta("Hel"),
          Fake.delta("lo"),
          Fake.finish(),
          Fake.event({ choices: [], usage }),
          Fake.done
        )
      )

      const events = yield* Fake.ask(fake.url)

      assert.deepStrictEqual(events, [
        { _tag: "Text", text: "Hel" },
        { _tag: "Text", text: "lo" },
        {
          _tag: "End",
          reason: "stop",
          usage: { inputTokens: 7, outputTokens: 3, cachedTokens: 4, estimated: false }
        }
      ])
    })
  )
})
