import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { median, percentile, round } from "../../scripts/bench/numbers.ts"
import { type CpuProfile, packageOf, sharesOf } from "../../scripts/bench/profile.ts"
import { Report, verdictOf } from "../../scripts/bench/Report.ts"

describe("the arithmetic of figures", () => {
  it("takes the middle of an odd and of an even number of values, in any order", () => {
    assert.strictEqual(median([3, 1, 2]), 2)
    assert.strictEqual(median([4, 1, 3, 2]), 2.5)
    assert.isNaN(median([]))
  })

  it("takes a percentile that was measured", () => {
    const values = Array.from({ length: 100 }, (_, at) => 100 - at)
    assert.strictEqual(percentile(values, 0.95), 95)
    assert.strictEqual(percentile(values, 0), 1)
    assert.strictEqual(percentile(values, 1), 100)
    assert.strictEqual(percentile([7], 0.5), 7)
    assert.isNaN(percentile([], 0.5))
  })

  it("keeps three digits", () => {
    assert.deepStrictEqual([1234.5, 0.012345, 0].map(round), [1230, 0.0123, 0])
  })
})

describe("a figure against its targets", () => {
  it("is better when lower, but a rate when higher", () => {
    const time = { what: "time", unit: "ms", must: 6, aim: 3 } as const
    assert.deepStrictEqual(
      [3, 3.1, 6, 6.1].map((value) => verdictOf(time, value)),
      ["aim", "must", "must", "missed"]
    )
    const rate = { what: "rate", unit: "msg/s", must: 150, aim: 300 } as const
    assert.deepStrictEqual(
      [300, 299, 150, 149].map((value) => verdictOf(rate, value)),
      ["aim", "must", "must", "missed"]
    )
  })

  it("has no verdict without targets", () => {
    assert.isUndefined(verdictOf({ what: "time", unit: "ms" }, 1))
  })
})

describe("a report", () => {
  it("marks what neighbours disturbed, and fails only when something did not run", () => {
    const report = new Report()
    report.add("warm_p50", { value: 100, foreignCores: 0.1 })
    report.add("warm_p95", { value: 4, foreignCores: 0.31, rounds: [4, 5.4321] })
    const { rows, failures } = JSON.parse(report.toJson({ bench: "gateway" }))
    assert.deepInclude(rows.warm_p50, { value: 100, must: 6, reached: "missed", noisy: false })
    assert.deepInclude(rows.warm_p95, { value: 4, reached: "aim", noisy: true, rounds: [4, 5.43] })
    assert.deepStrictEqual(failures, [])
    assert.isFalse(report.hasFailed)

    report.fail("restart", new Error("no answer"))
    assert.isTrue(report.hasFailed)
    assert.deepStrictEqual(JSON.parse(report.toJson({})).failures, ["restart: no answer"])
  })
})

const frame = (functionName: string, url: string) => ({ functionName, url, lineNumber: 9 })

describe("a profile", () => {
  const recorded: CpuProfile = {
    startTime: 1000,
    nodes: [
      { id: 1, callFrame: frame("(idle)", "") },
      { id: 2, callFrame: frame("start", "file:///house/layers/main.ts") },
      { id: 3, callFrame: frame("run", "file:///house/src/lane/Lanes.ts") },
      { id: 4, callFrame: frame("", "file:///house/node_modules/effect/dist/Stream.js") }
    ],
    samples: [2, 1, 3, 4, 3, 2],
    timeDeltas: [10, 10, 10, 10, 20, 10]
  }

  it("counts what ran between two moments, and not what was idle", () => {
    const { functions, packages, busySeconds } = sharesOf(recorded, 1015, 1060)
    assert.strictEqual(busySeconds, 40e-6)
    assert.deepStrictEqual(packages, [
      { name: "ours: src/lane", percent: 75 },
      { name: "effect", percent: 25 }
    ])
    assert.deepStrictEqual(
      functions.map(({ name }) => name),
      ["run /house/src/lane/Lanes.ts:10", "(anonymous) /house/node_modules/effect/dist/Stream.js:10"]
    )
  })

  it("knows whose code a file is", () => {
    const names = [
      packageOf("file:///h/node_modules/@effect/platform-node/dist/A.js", "f"),
      packageOf("file:///h/layers/horizons/SqliteMessageLog.ts", "f"),
      packageOf("node:internal/streams/writable", "f"),
      packageOf("node:events", "f"),
      packageOf("", "(garbage collector)")
    ]
    assert.deepStrictEqual(names, [
      "@effect/platform-node",
      "ours: layers/horizons",
      "node:internal/streams",
      "node:events",
      "garbage collection"
    ])
  })
})

describe("the command", () => {
  it("names what it can do when it is asked for something else, and starts nothing", () => {
    const script = fileURLToPath(new URL("../../scripts/bench.ts", import.meta.url))
    for (const args of [
      [],
      ["nothing"],
      ["gateway", "--only", "everything"],
      ["gateway", "--peer", "other"]
    ]) {
      const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], { encoding: "utf8" })
      assert.strictEqual(status, 64)
      assert.strictEqual(stdout, "")
      assert.match(stderr, /^usage: bench gateway/)
    }
  })
})
