import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as DataDir from "#layers/platform/DataDir.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => realpathSync(mkdtempSync(join(tmpdir(), "opencraw-data-")))),
  (path) =>
    Effect.sync(() => {
      chmodSync(path, 0o700)
      rmSync(path, { recursive: true })
    })
)
const opened = (path: string) =>
  Effect.provide(
    Effect.map(DataDir.DataDir, (dir) => dir.path),
    DataDir.layer(path)
  )
const modeOf = (path: string) => statSync(path).mode & 0o777

/** A second program that holds the lock until it is killed. */
const holder = (path: string) =>
  Effect.acquireRelease(
    Effect.callback<ReturnType<typeof spawn>>((resume) => {
      const script = `
        const { DatabaseSync } = require("node:sqlite")
        const db = new DatabaseSync(process.argv[1] + "/lock.db")
        db.exec("BEGIN EXCLUSIVE")
        console.log("held")
        setInterval(() => {}, 1000)
      `
      const child = spawn(process.execPath, ["-e", script, path], { stdio: ["ignore", "pipe", "inherit"] })
      child.stdout.once("data", () => resume(Effect.succeed(child)))
    }),
    (child) => ended(child)
  )
const ended = (child: ReturnType<typeof spawn>) =>
  Effect.callback<void>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
    child.kill("SIGKILL")
  })

describe("DataDir", () => {
  it.effect("makes a missing folder, readable by its owner only", () =>
    Effect.gen(function* () {
      const path = join(yield* folder, "deep", "data")
      const found = yield* opened(path)

      assert.strictEqual(found, path)
      assert.strictEqual(modeOf(path), 0o700)
      assert.strictEqual(modeOf(join(path, "lock.db")), 0o600)
    })
  )

  it.effect("gives the real path behind a symbolic link", () =>
    Effect.gen(function* () {
      const path = yield* folder
      mkdirSync(join(path, "real"))
      symlinkSync(join(path, "real"), join(path, "link"))

      assert.strictEqual(yield* opened(join(path, "link")), join(path, "real"))
    })
  )

  it.effect(
    "makes an empty or former folder of ours private, and leaves one with other things as it is",
    () =>
      Effect.gen(function* () {
        const path = yield* folder
        const [empty, shared] = [join(path, "empty"), join(path, "shared")]
        for (const one of [empty, shared]) {
          mkdirSync(one)
          chmodSync(one, 0o755)
        }
        writeFileSync(join(shared, "letter.txt"), "dear")
        yield* opened(empty)
        yield* opened(shared)

        assert.strictEqual(modeOf(empty), 0o700)
        assert.strictEqual(modeOf(shared), 0o755)
      })
  )

  it.effect("refuses a path where there is something else", () =>
    Effect.gen(function* () {
      const path = join(yield* folder, "file")
      writeFileSync(path, "")
      const errors = [yield* Effect.flip(opened(path)), yield* Effect.flip(opened(join(path, "below")))]

      assert.deepStrictEqual(
        errors.map(({ _tag }) => _tag),
        ["DataDirNotDirectory", "DataDirNotDirectory"]
      )
      assert.include(errors[0]?.message, path)
    })
  )

  it.effect("refuses a folder that cannot be written", () =>
    Effect.gen(function* () {
      // Even the superuser makes no folder here.
      const error = yield* Effect.flip(opened("/proc/opencraw"))

      assert.strictEqual(error._tag, "DataDirNotWritable")
    })
  )

  it.effect("refuses a second user, in this process or in another, until the first has gone", () =>
    Effect.gen(function* () {
      const path = join(yield* folder, "data")
      const within = yield* Effect.flip(opened(path)).pipe(Effect.provide(DataDir.layer(path)))
      yield* opened(path)
      const child = yield* holder(path)
      const across = yield* Effect.flip(opened(path))
      yield* ended(child)

      assert.strictEqual(within._tag, "DataDirLocked")
      assert.strictEqual(across._tag, "DataDirLocked")
      assert.include(across.message, path)
      assert.strictEqual(yield* opened(path), path)
    })
  )

  it("knows network file systems by their number, and those behind FUSE by their mount", () => {
    const named = DataDir.networkFileSystem
    assert.strictEqual(named(0x6969, undefined), "nfs")
    assert.strictEqual(named(0xff534d42, undefined), "cifs")
    assert.strictEqual(named(0xff534d42 | 0, undefined), "cifs")
    assert.strictEqual(named(0xfe534d42, undefined), "smb2")
    assert.strictEqual(named(0x01021997, undefined), "9p")
    assert.strictEqual(named(0x65735546, "fuse.sshfs"), "fuse.sshfs")
    assert.strictEqual(named(0x65735546, undefined), "fuse")
    assert.strictEqual(named(0x65735546, "fuseblk"), undefined)
    for (const local of [0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630])
      assert.strictEqual(named(local, undefined), undefined)
  })

  it("finds the mount a path is on: the deepest, and of two at one place the last", () => {
    const mounts = [
      "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
      "40 22 0:40 / /mnt/far\\040away rw shared:2 - fuse.sshfs me@host:/ rw",
      "41 22 0:41 / /mnt rw - xfs /dev/sdb rw",
      "42 22 0:42 / /mnt rw - btrfs /dev/sdc rw"
    ].join("\n")
    assert.strictEqual(DataDir.mountType(mounts, "/mnt/far away/data"), "fuse.sshfs")
    assert.strictEqual(DataDir.mountType(mounts, "/mnt/far"), "btrfs")
    assert.strictEqual(DataDir.mountType(mounts, "/mntx"), "ext4")
    assert.strictEqual(DataDir.mountType("", "/"), undefined)
  })
})
