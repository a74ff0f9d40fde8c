/**
 * The one folder that holds everything durable: private, on a local disk, used by one process at a time.
 *
 * Owns: its creation, what is refused (never with a fallback), and the lock that keeps a second process out.
 * Does not own: the files in it; each store opens its own.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  opendirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statfsSync,
  statSync
} from "node:fs"
import { homedir } from "node:os"
import { dirname, join, resolve } from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as RuntimeSettings from "#src/setting/RuntimeSettings.ts"
import { createPrivate, failureOf } from "./SqliteEngine.ts"

/** There is something else at this path. */
export class DataDirNotDirectory extends Schema.TaggedError<DataDirNotDirectory>()("DataDirNotDirectory", {
  path: Schema.String
}) {
  override get message() {
    return `the data directory ${this.path} is not a directory: move what is there, or set runtime.data_dir`
  }
}
/** It cannot be made or written to. */
export class DataDirNotWritable extends Schema.TaggedError<DataDirNotWritable>()("DataDirNotWritable", {
  path: Schema.String,
  detail: Schema.String
}) {
  override get message() {
    return `the data directory ${this.path} cannot be written (${this.detail}): fix its permissions, or set runtime.data_dir`
  }
}
/** Locks and syncs of network file systems cannot be trusted. */
export class DataDirOnNetwork extends Schema.TaggedError<DataDirOnNetwork>()("DataDirOnNetwork", {
  path: Schema.String,
  fileSystem: Schema.String
}) {
  override get message() {
    return `the data directory ${this.path} is on a network file system (${this.fileSystem}): set runtime.data_dir to a local disk`
  }
}
/** Another process uses it. */
export class DataDirLocked extends Schema.TaggedError<DataDirLocked>()("DataDirLocked", {
  path: Schema.String
}) {
  override get message() {
    return `the data directory ${this.path} is in use by another process: stop that one, or set runtime.data_dir`
  }
}
export type DataDirError = DataDirNotDirectory | DataDirNotWritable | DataDirOnNetwork | DataDirLocked

export class DataDir extends Context.Service<
  DataDir,
  {
    /** Absolute, with symbolic links resolved. Nobody else uses it while this Layer lives. */
    readonly path: string
  }
>()("opencraw/layers/platform/DataDir") {}

/** Linux's names for what `statfs` says. */
const networkTypes: Readonly<Record<number, string>> = {
  0x6969: "nfs",
  0x517b: "smb",
  0xff534d42: "cifs",
  0xfe534d42: "smb2",
  0x01021997: "9p",
  0x00c36400: "ceph",
  0x0bd00bd0: "lustre",
  0x5346414f: "afs",
  0x6b414653: "afs",
  0x73757245: "coda",
  0x013111a8: "ibrix",
  0x47504653: "gpfs",
  0xaad7aaea: "panfs",
  0x01161970: "gfs2",
  0x7461636f: "ocfs2"
}
const fuse = 0x65735546
/** File systems behind FUSE that keep their data on this machine. Any other is taken for a remote one. */
const localFuse = new Set([
  "fuseblk",
  "fuse.fuse-overlayfs",
  "fuse.gocryptfs",
  "fuse.encfs",
  "fuse.ntfs-3g",
  "virtiofs"
])

/**
 * The name of the network file system, or undefined for a local one. `type` is `statfs`'s number; `mounted` is the
 * mount's own type, which alone tells the kinds of FUSE apart.
 */
export const networkFileSystem = (type: number, mounted: string | undefined): string | undefined => {
  // Some systems give the number signed.
  const magic = type >>> 0
  if (magic === fuse) return mounted !== undefined && localFuse.has(mounted) ? undefined : (mounted ?? "fuse")
  return networkTypes[magic]
}

/** The type of the mount a path is on, from the text of `/proc/self/mountinfo`. The last of equal mounts is on top. */
export const mountType = (mountinfo: string, path: string): string | undefined => {
  let found: { readonly at: string; readonly type: string } | undefined
  for (const line of mountinfo.split("\n")) {
    const [mount, rest] = line.split(" - ")
    const at = mount
      ?.split(" ")[4]
      ?.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
    const type = rest?.split(" ")[0]
    if (at === undefined || type === undefined) continue
    const within = path === at || path.startsWith(at.endsWith("/") ? at : `${at}/`)
    if (within && at.length >= (found?.at.length ?? 0)) found = { at, type }
  }
  return found?.type
}

const codeOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "unknown"

/** Node's own recursion never ends where a parent exists and still nothing can be made, as in `/proc`. */
const makeWithParents = (path: string): void => {
  try {
    mkdirSync(path, 0o700)
  } catch (cause) {
    if (codeOf(cause) === "EEXIST") return
    if (codeOf(cause) !== "ENOENT" || existsSync(dirname(path))) throw cause
    makeWithParents(dirname(path))
    mkdirSync(path, 0o700)
  }
}

/** Makes the folder where it is missing, readable by its owner only. */
const create = (path: string): Effect.Effect<string, DataDirError> =>
  Effect.try({
    try: () => {
      makeWithParents(path)
      const real = realpathSync(path)
      // Fails with ENOTDIR where there is something else.
      opendirSync(real).closeSync()
      return real
    },
    catch: (cause) => {
      const code = codeOf(cause)
      return code === "ENOTDIR"
        ? new DataDirNotDirectory({ path })
        : new DataDirNotWritable({ path, detail: code })
    }
  })

const checkPlace = (path: string): Effect.Effect<void, DataDirError> =>
  Effect.suspend(() => {
    // Elsewhere the numbers mean other things.
    if (process.platform !== "linux") return Effect.void
    const type = statfsSync(path).type
    const mounted =
      type >>> 0 === fuse ? mountType(readFileSync("/proc/self/mountinfo", "utf8"), path) : undefined
    const fileSystem = networkFileSystem(type, mounted)
    return fileSystem === undefined ? Effect.void : Effect.fail(new DataDirOnNetwork({ path, fileSystem }))
  })

/**
 * Takes away what others may do in a folder that is ours (empty, or with our lock in it). A folder that somebody put
 * us into keeps its mode, since other things may live there; our files in it are private by themselves.
 */
const makePrivate = (path: string): Effect.Effect<void, DataDirError> =>
  Effect.try({
    try: () => {
      accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK)
      const { mode, uid } = statSync(path)
      const content = readdirSync(path)
      const ours = uid === process.getuid?.() && (content.length === 0 || content.includes("lock.db"))
      if (ours && (mode & 0o077) !== 0) chmodSync(path, 0o700)
    },
    catch: (cause) => new DataDirNotWritable({ path, detail: codeOf(cause) })
  })

/** An exclusive transaction that stays open: the operating system ends it with the process, however that dies. */
const lock = (path: string): Effect.Effect<DatabaseSync, DataDirError> =>
  Effect.suspend(() => {
    let handle: DatabaseSync | undefined
    try {
      const file = join(path, "lock.db")
      createPrivate(file)
      handle = new DatabaseSync(file, { timeout: 0 })
      handle.exec("BEGIN EXCLUSIVE")
      return Effect.succeed(handle)
    } catch (cause) {
      handle?.close()
      const failure = failureOf(cause)
      return Effect.fail(
        failure?.kind === "busy"
          ? new DataDirLocked({ path })
          : new DataDirNotWritable({ path, detail: failure?.detail ?? codeOf(cause) })
      )
    }
  })

/** The folder at `path`, made when missing and held until the Layer ends. */
export const layer = (path: string): Layer.Layer<DataDir, DataDirError> =>
  Layer.effect(
    DataDir,
    Effect.gen(function* () {
      const real = yield* create(resolve(path))
      yield* checkPlace(real)
      yield* makePrivate(real)
      yield* Effect.acquireRelease(lock(real), (handle) => Effect.sync(() => handle.close()))
      return DataDir.of({ path: real })
    })
  )

/** The folder that `runtime.data_dir` names, by default `.opencraw` in the home folder. */
export const layerSettings: Layer.Layer<DataDir, DataDirError, RuntimeSettings.Runtime> = Layer.unwrap(
  Effect.map(RuntimeSettings.Runtime, (runtime) =>
    layer(runtime.get().data_dir ?? join(homedir(), ".opencraw"))
  )
)
