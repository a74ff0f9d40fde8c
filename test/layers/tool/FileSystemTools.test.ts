import { execFileSync } from "node:child_process"
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { local } from "#src/domain/Tenant.ts"
import * as FileSystemTools from "#layers/tool/FileSystemTools.ts"
import * as Workspace from "#layers/tool/Workspace.ts"
import * as Tools from "#src/tool/Tools.ts"
import { startSwapping } from "./swapping.ts"

/** A folder `ws` with files, and what must never be seen beside it. */
const makeFolder = Effect.acquireRelease(
  Effect.sync(() => {
    const base = realpathSync(mkdtempSync(join(tmpdir(), "opencraw-fs-")))
    const root = join(base, "ws")
    mkdirSync(root)
    mkdirSync(join(base, "ws-evil"))
    writeFileSync(join(base, "outside.txt"), "OUTSIDE")
    writeFileSync(join(base, "ws-evil", "x"), "OUTSIDE")
    const put = (path: string, content: string | Uint8Array) => {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      writeFileSync(join(root, path), content)
    }
    return { base, root, put }
  }),
  ({ base }) => Effect.sync(() => rmSync(base, { recursive: true, force: true }))
)

const run = (name: string, args: unknown, workspace?: string) =>
  Effect.gen(function* () {
    const tool = (yield* Tools.Tools).find(name)
    assert.isDefined(tool)
    return yield* tool.run(args, {
      tenant: local,
      agent: "main",
      session: "s",
      ...(workspace === undefined ? {} : { workspace })
    })
  }).pipe(Effect.provide(Layer.provideMerge(FileSystemTools.layer, Tools.layer)))

const message = (name: string, args: unknown, workspace?: string) =>
  Effect.map(Effect.flip(run(name, args, workspace)), (error) => error.message)

const makePipe = (path: string) => execFileSync("sh", ["-c", `mkfifo "$0"`, path])

const openHandles = () => readdirSync("/proc/self/fd").length

describe("fs.read", () => {
  it.effect("gives a file's text", () =>
    Effect.gen(function* () {
      const { root, put } = yield* makeFolder
      put("notes/файл 1.md", "héllo\n")
      put("empty", "")

      assert.strictEqual(yield* run("fs.read", { path: "notes/файл 1.md" }, root), "héllo\n")
      assert.strictEqual(yield* run("fs.read", { path: "x/../notes/./файл 1.md" }, root), "héllo\n")
      assert.strictEqual(yield* run("fs.read", { path: "empty" }, root), "")
    })
  )

  it.effect("gives a large file in parts that cut no character and lose nothing", () =>
    Effect.gen(function* () {
      const { root, put } = yield* makeFolder
      const whole = "a🦀é".repeat(30_000)
      put("big", whole)

      let read = ""
      let offset: number | undefined = 0
      while (offset !== undefined) {
        const part: string = yield* run("fs.read", { path: "big", offset }, root)
        const note = /\n\[bytes \d+ to (\d+) of \d+; go on with offset \d+\]$/.exec(part)
        read += note === null ? part : part.slice(0, note.index)
        offset = note === null ? undefined : Number(note[1])
      }

      assert.strictEqual(read, whole)
      assert.match(yield* run("fs.read", { path: "big", offset: 2, length: 10 }, root), /^éa🦀\n/)
      assert.include(yield* message("fs.read", { path: "big", offset: 10_000_000 }, root), "it has only")
    })
  )

  it.effect("says what is not text instead of giving it", () =>
    Effect.gen(function* () {
      const { root, put } = yield* makeFolder
      put("zero.bin", new Uint8Array([65, 0, 66]))
      put("high.bin", new Uint8Array([0xff, 0xfe, 0x80]))

      assert.strictEqual(
        yield* run("fs.read", { path: "zero.bin" }, root),
        "zero.bin is not text (3 bytes); its content is not shown."
      )
      assert.include(yield* run("fs.read", { path: "high.bin" }, root), "is not text")
    })
  )

  it.effect("never reads more of a huge file than it may give", () =>
    Effect.gen(function* () {
      const { root } = yield* makeFolder
      writeFileSync(join(root, "huge"), "text")
      truncateSync(join(root, "huge"), 50 * 1024 ** 3)

      assert.strictEqual(
        yield* run("fs.read", { path: "huge", length: 4 }, root),
        "text\n[bytes 0 to 4 of 53687091200; go on with offset 4]"
      )
    })
  )

  it.effect("tells what is wrong by the path as it was written, never by the host's", () =>
    Effect.gen(function* () {
      const { root, put, base } = yield* makeFolder
      put("a/b", "x")
      symlinkSync("../outside.txt", join(root, "link"))
      const messages = [
        yield* message("fs.read", { path: "none.md" }, root),
        yield* message("fs.read", { path: "a" }, root),
        yield* message("fs.read", { path: "a/b/c" }, root),
        yield* message("fs.read", { path: "../outside.txt" }, root),
        yield* message("fs.read", { path: "link" }, root),
        yield* message("fs.read", { path: "a" }, join(base, "no-such-workspace")),
        yield* message("fs.read", { path: "a" }, join(root, "a/b"))
      ]

      assert.deepStrictEqual(messages, [
        '"none.md": it does not exist',
        '"a": it is a folder; use fs.list',
        '"a/b/c": a part of the path is a file, not a folder',
        '"../outside.txt": the path leaves the workspace',
        '"link": it is a link that leaves the workspace',
        '"a": it does not exist',
        '"a": a part of the path is a file, not a folder'
      ])
    })
  )

  it.effect("refuses wrong arguments by name, and an agent without a workspace", () =>
    Effect.gen(function* () {
      const { root } = yield* makeFolder

      assert.include(yield* message("fs.read", {}, root), "path")
      assert.include(yield* message("fs.read", { path: 1 }, root), "path")
      assert.include(yield* message("fs.read", { path: "a", mode: "w" }, root), "mode")
      assert.include(yield* message("fs.read", { path: "a", offset: -1 }, root), "offset")
      assert.strictEqual(yield* message("fs.read", { path: "a" }), "this agent has no workspace")
    })
  )
})

/** The content that the names lead to, or why there is none. */
const content = (walksHandles: boolean, root: string, ...names: ReadonlyArray<string>) =>
  Effect.promise(async () => {
    const opened = await Workspace.make(root, walksHandles)
      .open(names)
      .catch((error: NodeJS.ErrnoException) => ({ kind: "refused" as const, why: error.code ?? "" }))
    if (opened.kind === "refused") return `refused: ${opened.why}`
    const text = opened.kind === "file" ? await opened.handle.readFile("utf8") : "a folder"
    await opened.handle.close()
    return text
  })

for (const walksHandles of [true, false]) {
  describe(`Workspace ${walksHandles ? "walking handles" : "comparing after opening"}`, () => {
    it.effect("follows links that stay inside, and no other", () =>
      Effect.gen(function* () {
        const { root, put, base } = yield* makeFolder
        put("dir/inside.txt", "inside")
        symlinkSync("dir/inside.txt", join(root, "relative"))
        symlinkSync(join(root, "dir"), join(root, "absolute"))
        symlinkSync("relative", join(root, "twice"))
        symlinkSync("../outside.txt", join(root, "up"))
        symlinkSync(join(base, "outside.txt"), join(root, "away"))
        symlinkSync(join(base, "ws-evil"), join(root, "neighbour"))
        symlinkSync("..", join(root, "dirup"))
        symlinkSync("up", join(root, "dir", "..", "hop"))
        symlinkSync("loop", join(root, "loop"))
        symlinkSync(join(base, "not-existing"), join(root, "dangling"))

        assert.strictEqual(yield* content(walksHandles, root, "relative"), "inside")
        assert.strictEqual(yield* content(walksHandles, root, "absolute", "inside.txt"), "inside")
        assert.strictEqual(yield* content(walksHandles, root, "twice"), "inside")
        for (const names of [
          ["up"],
          ["away"],
          ["neighbour", "x"],
          ["dirup", "outside.txt"],
          ["hop"],
          ["loop"],
          ["dangling"]
        ]) {
          assert.match(yield* content(walksHandles, root, ...names), /^refused/, names.join("/"))
        }
      })
    )

    it.effect("refuses hard links, pipes and devices, and never waits for them", () =>
      Effect.gen(function* () {
        const { root, base } = yield* makeFolder
        linkSync(join(base, "outside.txt"), join(root, "hard"))
        makePipe(join(root, "pipe"))

        assert.match(yield* content(walksHandles, root, "hard"), /hard link/)
        assert.match(yield* content(walksHandles, root, "pipe"), /neither a file nor a folder/)
        assert.match(yield* content(walksHandles, "/dev", "null"), /^refused/)
      })
    )
  })
}

describe("Workspace", () => {
  it.effect("never leaves the workspace while a parent is swapped for a link", () =>
    Effect.gen(function* () {
      const { root, put, base } = yield* makeFolder
      put("d/f", "inside")
      mkdirSync(join(base, "trap"))
      writeFileSync(join(base, "trap", "f"), "OUTSIDE")
      symlinkSync(join(base, "trap"), join(base, "lure"))
      const stop = yield* Effect.promise(() => startSwapping(base, root))

      const seen = new Map<string, number>()
      for (let i = 0; i < 1_000; i++) {
        const got = yield* content(true, root, "d", "f")
        seen.set(got, (seen.get(got) ?? 0) + 1)
      }
      yield* Effect.promise(stop)

      assert.notInclude([...seen.keys()], "OUTSIDE")
      // Both states were met: otherwise the race was not tried.
      assert.isAbove(seen.get("inside") ?? 0, 0)
      assert.isAbove(1_000 - (seen.get("inside") ?? 0), 0)
    })
  )
})

describe("fs.list", () => {
  it.effect("lists a folder in order, with sizes, and says what is a link", () =>
    Effect.gen(function* () {
      const { root, put } = yield* makeFolder
      put("b.txt", "12345")
      put("a/deep/x", "1")
      symlinkSync("..", join(root, "up"))

      assert.strictEqual(yield* run("fs.list", {}, root), "a/\nb.txt 5\nup (link)")
      assert.strictEqual(
        yield* run("fs.list", { path: ".", depth: 3 }, root),
        "a/\na/deep/\na/deep/x 1\nb.txt 5\nup (link)"
      )
      assert.strictEqual(yield* run("fs.list", { path: "a/deep/" }, root), "x 1")
      assert.include(yield* message("fs.list", { path: "up" }, root), "leaves the workspace")
      assert.include(yield* message("fs.list", { path: "b.txt" }, root), "it is a file")
    })
  )

  it.effect("lists what it may not read without failing, and an empty folder", () =>
    Effect.gen(function* () {
      const { root, base } = yield* makeFolder
      assert.strictEqual(yield* run("fs.list", {}, root), ". is empty.")
      linkSync(join(base, "outside.txt"), join(root, "hard"))
      makePipe(join(root, "pipe"))
      writeFileSync(join(root, "line\nbreak"), "x")

      assert.strictEqual(
        yield* run("fs.list", {}, root),
        "hard (not readable)\nline�break 1\npipe (not a file)"
      )
    })
  )

  it.effect("is bounded", () =>
    Effect.gen(function* () {
      const { root } = yield* makeFolder
      for (let i = 0; i < 600; i++) writeFileSync(join(root, `f${i}`), "")

      const lines = (yield* run("fs.list", {}, root)).split("\n")

      assert.lengthOf(lines, 501)
      assert.include(lines.at(-1), "there is more")
    })
  )
})

describe("fs.search", () => {
  it.effect("finds text in any file below, whatever its case", () =>
    Effect.gen(function* () {
      const { root, put } = yield* makeFolder
      put("a/notes.md", "one\nBuy MILK today\r\nthree\n")
      put("b.txt", "milk")
      put(".git/config", "milk")
      put("node_modules/x/y.js", "milk")

      assert.strictEqual(
        yield* run("fs.search", { query: "milk" }, root),
        "a/notes.md:2: Buy MILK today\nb.txt:1: milk"
      )
      assert.strictEqual(
        yield* run("fs.search", { query: "milk", path: "a" }, root),
        "a/notes.md:2: Buy MILK today"
      )
      assert.strictEqual(yield* run("fs.search", { query: "milk", path: "b.txt" }, root), "b.txt:1: milk")
      assert.strictEqual(yield* run("fs.search", { query: "m.lk" }, root), 'Nothing holds "m.lk".')
    })
  )

  it.effect(
    "never looks outside, nor into pipes, binary or very large files, and says what it left out",
    () =>
      Effect.gen(function* () {
        const { root, put, base } = yield* makeFolder
        symlinkSync("..", join(root, "up"))
        symlinkSync(join(base, "outside.txt"), join(root, "away"))
        linkSync(join(base, "outside.txt"), join(root, "hard"))
        makePipe(join(root, "pipe"))
        put("bin", new Uint8Array([0, 79, 85, 84]))
        writeFileSync(join(root, "huge"), "text")
        truncateSync(join(root, "huge"), 50 * 1024 ** 3)

        assert.strictEqual(
          yield* run("fs.search", { query: "OUT" }, root),
          'Nothing holds "OUT".\n[3 entries were left out]'
        )
      })
  )

  it.effect("is bounded in matches and in the length of a line", () =>
    Effect.gen(function* () {
      const { root, put } = yield* makeFolder
      put("long", `${"x".repeat(100_000)}needle${"y".repeat(100_000)}`)
      put("many", "needle\n".repeat(5_000))

      const lines = (yield* run("fs.search", { query: "needle" }, root)).split("\n")

      assert.isBelow(lines[0]?.length ?? 0, 300)
      assert.include(lines[0], "needle")
      assert.lengthOf(lines, 101)
      assert.include(lines.at(-1), "stopped early")
    })
  )

  it.effect("closes all it has opened, also when it fails or is interrupted", () =>
    Effect.gen(function* () {
      const { root, put } = yield* makeFolder
      for (let i = 0; i < 200; i++) put(`d${i % 20}/f${i}`, "text ".repeat(1_000))
      chmodSync(join(root, "d3"), 0)
      yield* Effect.ignore(run("fs.search", { query: "text" }, root))
      const before = openHandles()

      yield* run("fs.search", { query: "nothing" }, root)
      yield* Effect.ignore(run("fs.read", { path: "d1/none" }, root))
      yield* Effect.ignore(run("fs.read", { path: "d1/f1/none" }, root))
      yield* run("fs.list", { depth: 5 }, root)
      for (let i = 0; i < 20; i++) {
        const fiber = yield* Effect.forkChild(run("fs.search", { query: "nothing" }, root), {
          startImmediately: true
        })
        for (let j = 0; j < i; j++)
          yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        fiber.interruptUnsafe()
      }
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 100)))

      chmodSync(join(root, "d3"), 0o755)
      assert.strictEqual(openHandles(), before)
    })
  )
})
