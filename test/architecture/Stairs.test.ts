import { assert, describe, it } from "@effect/vitest"
import fs from "node:fs"
import path from "node:path"
import { importsOf, rules } from "./stairs.ts"

const root = path.resolve(import.meta.dirname, "../..")

const sources = ["src", "layers", "test", "scripts"]
  .flatMap((folder) =>
    fs
      .readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
      .map((name) => path.posix.join(folder, name.split(path.sep).join("/")))
  )
  .filter((file) => /\.(?:ts|tsx|mjs)$/.test(file))
  // The samples below are offences on purpose.
  .filter((file) => !file.startsWith("test/architecture/"))

/** For each rule: file, text, and whether the rule objects. */
const samples: Record<keyof typeof rules, ReadonlyArray<readonly [string, string, "bad" | "good"]>> = {
  upward: [
    ["src/model/Model.ts", `import { Lanes } from "#src/lane/Lanes.ts"`, "bad"],
    ["src/model/Model.ts", `import type { Lanes } from "../lane/Lanes.ts"`, "bad"],
    ["src/model/Model.ts", `export * from "#src/agent/Agent.ts"`, "bad"],
    ["src/model/Model.ts", `const late = () => import("#src/lane/Lanes.ts")`, "bad"],
    ["src/model/Model.ts", `let lanes: import("#src/lane/Lanes.ts").Lanes`, "bad"],
    // Rooms of one step do not know each other.
    ["src/agent/Agent.ts", `import { Sessions } from "#src/session/Sessions.ts"`, "bad"],
    ["src/cellar/Wine.ts", `import { Ids } from "#src/domain/Ids.ts"`, "bad"],
    ["src/lane/Lanes.ts", `import { Wine } from "#src/cellar/Wine.ts"`, "bad"],
    ["src/gateway/Http.ts", `import { System } from "#src/System.ts"`, "bad"],
    [
      "src/lane/Lanes.ts",
      `import { Agent } from "#src/agent/Agent.ts"\nimport { decide } from "./decide.ts"`,
      "good"
    ],
    [
      "src/System.ts",
      `import { Config } from "./Config.ts"\nimport { Http } from "#src/gateway/Http.ts"`,
      "good"
    ],
    ["src/lane/Lanes.ts", `// not: import { X } from "#src/gateway/X.ts"`, "good"]
  ],
  layersFromSrc: [
    ["src/model/Model.ts", `import { Demo } from "#layers/model/Demo.ts"`, "bad"],
    ["src/model/Model.ts", `import { Demo } from "../../layers/model/Demo.ts"`, "bad"],
    ["layers/Dev.ts", `import { Demo } from "#layers/model/Demo.ts"`, "good"]
  ],
  vendorInSrc: [
    ["src/tool/Tools.ts", `import fs from "node:fs"`, "bad"],
    ["src/tool/Tools.ts", `import { readFile } from "fs/promises"`, "bad"],
    ["src/tool/Tools.ts", `import { NodeRuntime } from "@effect/platform-node"`, "bad"],
    ["src/model/Model.ts", `import { Agent } from "undici"`, "bad"],
    ["src/gateway/Socket.ts", `import { WebSocketServer } from "ws"`, "bad"],
    ["src/model/Model.ts", `import OpenAI from "openai"`, "bad"],
    ["src/model/Model.ts", `import * as Http from "effect/http/HttpClient"`, "good"],
    ["layers/platform/Files.ts", `import fs from "node:fs"`, "good"]
  ],
  domainAlone: [
    ["src/domain/Entry.ts", `import { layer } from "#src/check/Checks.ts"`, "bad"],
    ["src/domain/Entry.ts", `import * as Sql from "effect/sql/SqlClient"`, "bad"],
    ["src/domain/Entry.ts", `import { z } from "zod"`, "bad"],
    ["src/domain/Entry.ts", `import * as Schema from "effect/Schema"\nimport { X } from "./Ids.ts"`, "good"],
    ["src/domain/Entry.ts", `import type { X } from "#src/domain/Ids.ts"`, "good"]
  ],
  barrel: [
    ["src/lane/Lanes.ts", `import { Effect } from "effect"`, "bad"],
    ["layers/Dev.ts", `import type { Effect } from "effect"`, "bad"],
    ["layers/Dev.ts", `import * as Effect from "effect/Effect"`, "good"]
  ],
  roomsOfLayers: [
    ["layers/model/OpenAi.ts", `import { Log } from "#layers/horizons/SqliteLog.ts"`, "bad"],
    ["layers/platform/Node.ts", `import { Log } from "../horizons/SqliteLog.ts"`, "bad"],
    ["layers/model/OpenAi.ts", `import { Dev } from "#layers/Dev.ts"`, "bad"],
    ["layers/model/OpenAi.ts", `import { Undici } from "#layers/platform/Undici.ts"`, "good"],
    ["layers/model/OpenAi.ts", `import { sse } from "./sse.ts"`, "good"],
    ["layers/Dev.ts", `import { Log } from "./horizons/SqliteLog.ts"`, "good"]
  ],
  scriptsAlone: [
    ["test/lane/decide.test.ts", `import { prepare } from "../../scripts/house.mjs"`, "bad"],
    ["test/scripts/Run.test.ts", `import { median } from "../../scripts/bench/numbers.ts"`, "good"],
    ["src/lane/Lanes.ts", `import { prepare } from "../../scripts/house.mjs"`, "bad"],
    ["scripts/run.mjs", `import { prepare } from "./house.mjs"`, "good"]
  ],
  pageApart: [
    ["src/gateway/Http.ts", `import { initial } from "#src/web/state.ts"`, "bad"],
    ["src/web/state.ts", `import { Lanes } from "#src/lane/Lanes.ts"`, "bad"],
    ["src/web/Page.tsx", `import * as Effect from "effect/Effect"`, "bad"],
    [
      "src/web/Page.tsx",
      `import { useState } from "preact/hooks"\nimport { initial } from "./state.ts"`,
      "good"
    ],
    ["src/web/vite.config.ts", `import { defineConfig } from "vite"`, "good"]
  ]
}

describe("the stairs", () => {
  for (const [name, rule] of Object.entries(rules)) {
    it(`no file breaks the rule ${name}`, () => {
      const offences = sources.flatMap((file) => rule(file, fs.readFileSync(path.join(root, file), "utf8")))
      assert.deepStrictEqual(offences, [])
    })
    for (const [file, text, verdict] of samples[name as keyof typeof rules]) {
      it(`${name} ${verdict === "bad" ? "objects to" : "accepts"} ${text.replaceAll("\n", "; ")} in ${file}`, () => {
        assert.strictEqual(rule(file, text).length > 0, verdict === "bad")
      })
    }
  }

  it("reads the files of the repository", () => {
    assert.include(sources, "src/domain/Ids.ts")
    assert.include(sources, "scripts/run.mjs")
  })

  it("sees imports over several lines, of types, for their effect, and re-exports", () => {
    const text = `import {\n  a,\n  b\n} from "./a.ts"\nimport "./b.ts"\nimport type { C } from '#src/c.ts'\nexport { d } from "d"\n`
    assert.deepStrictEqual(
      importsOf("layers/x/Y.ts", text).map((found) => found.target ?? found.specifier),
      ["layers/x/a.ts", "layers/x/b.ts", "src/c.ts", "d"]
    )
  })
})
