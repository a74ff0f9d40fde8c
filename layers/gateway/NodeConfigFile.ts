/**
 * Writes a configuration that is known to work: for `opencraw config init` and for the page.
 *
 * Owns: that nothing is written which a start would refuse, that only its owner can read it, and that of two writers one wins.
 * Does not own: its text (`src/gateway/cli/configText`), nor what may stand in it (`src/Config`).
 */
import { linkSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Settings from "#layers/platform/Settings.ts"
import { ConfigFile, ConfigFileError } from "#src/gateway/ConfigFile.ts"
import type { Problem } from "#src/setting/Problem.ts"

export interface Writing {
  readonly text: string
  /** An absolute path. */
  readonly target: string
  /** The variables that the configuration is checked with. */
  readonly env: NonNullable<Settings.LoadOptions["env"]>
  /** Replace a file that exists. */
  readonly isForced?: boolean
  /** What must hold beside what every configuration must. */
  readonly verify?: (loaded: Settings.LoadedConfig) => ReadonlyArray<Problem>
}

const codeOf = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "unknown reason"

const failed = (
  file: string,
  reason: ConfigFileError["reason"],
  facts: { readonly problems?: ReadonlyArray<Problem>; readonly detail?: string } = {}
) => new ConfigFileError({ reason, file, problems: facts.problems ?? [], detail: facts.detail ?? "" })

const notWritten = (file: string, cause: unknown) => {
  const detail = codeOf(cause)
  return detail === "EEXIST" ? failed(file, "exists") : failed(file, "not_writable", { detail })
}

/** Written where it will stand, because paths in it are seen from there. */
const draft = ({ text, target }: Writing) =>
  Effect.try({
    try: () => {
      const folder = mkdtempSync(join(dirname(target), ".opencraw-"))
      return { folder, file: join(folder, basename(target)) }
    },
    catch: (cause) => notWritten(target, cause)
  }).pipe(
    Effect.tap(({ folder, file }) =>
      Effect.try({
        try: () => writeFileSync(file, text, { mode: 0o600 }),
        catch: (cause) => notWritten(target, cause)
      }).pipe(Effect.onError(() => remove(folder)))
    )
  )

const remove = (folder: string) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))

/** Check it, then move it into place. */
export const write = (writing: Writing): Effect.Effect<Settings.LoadedConfig, ConfigFileError> => {
  const { target, env, isForced = false, verify } = writing
  return Effect.acquireUseRelease(
    draft(writing),
    Effect.fnUntraced(function* ({ file }) {
      const loaded = yield* Settings.load({ argvConfig: file, env }).pipe(
        Effect.mapError(({ problems }) => failed(target, "unusable", { problems }))
      )
      const problems = verify?.(loaded) ?? []
      if (problems.length > 0) return yield* failed(target, "unusable", { problems })
      yield* Effect.try({
        try: () => {
          if (isForced) renameSync(file, target)
          else linkSync(file, target)
        },
        catch: (cause) => notWritten(target, cause)
      })
      return loaded
    }),
    ({ folder }) => remove(folder)
  )
}

const overruled = (model: string, { config }: Settings.LoadedConfig): ReadonlyArray<Problem> =>
  config.agents["main"]?.model === model
    ? []
    : [
        {
          path: "general.model",
          problem: "the environment variable OPENCRAW_MODEL names another one, and it wins over the file",
          hint: "unset it where the gateway starts"
        }
      ]

/** `inForce` is the file that the gateway runs on; what it was started with tells where another would be found. */
export const make = (
  inForce: string | undefined,
  { env = process.env, cwd = process.cwd(), ...options }: Settings.LoadOptions = {}
) => {
  const found = () => Settings.foundFile({ ...options, env, cwd })
  return ConfigFile.of({
    state: Effect.sync(() =>
      inForce !== undefined ? "in_force" : found() === undefined ? "none" : "written"
    ),
    create: Effect.fn("ConfigFile.create")(function* (text: string, model: string) {
      const known = inForce ?? found()
      if (known !== undefined) return yield* failed(known, "exists")
      const target = join(cwd, Settings.fileName)
      yield* write({ text, target, env, verify: (loaded) => overruled(model, loaded) })
      return target
    })
  })
}

export const layer = Layer.effect(
  ConfigFile,
  Effect.map(Settings.Loaded, ({ file }) => make(file))
)
