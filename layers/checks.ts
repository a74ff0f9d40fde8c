/**
 * What must hold for a gateway to work, wherever it is asked: by `/ready` and `doctor` of a running gateway, and by `doctor` without
 * one.
 */
import { fileURLToPath } from "node:url"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as gatewayChecks from "#layers/gateway/gatewayChecks.ts"
import * as providerCheck from "#layers/model/providerCheck.ts"
import * as diskCheck from "#layers/platform/diskCheck.ts"
import { Loaded } from "#layers/platform/Settings.ts"
import * as workspaceCheck from "#layers/tool/workspaceCheck.ts"
import { Agents } from "#src/agent/AgentSettings.ts"
import { type CheckResult, Checks } from "#src/check/Checks.ts"
import { demoModel } from "#src/Config.ts"
import { modelStatus } from "#src/gateway/probes.ts"
import { ModelHealth, type Resting } from "#src/model/ModelHealth.ts"
import { Providers } from "#src/model/ProviderSettings.ts"
import { format } from "#src/setting/Problem.ts"

/** The page: beside the bundle, or where `npm run build` puts it in a checkout. */
export const pageFolder = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "../dist/web" : "./web", import.meta.url)
)

const configuration = Layer.effectDiscard(
  Effect.gen(function* () {
    const checks = yield* Checks
    const { file, warnings } = yield* Loaded
    const agents = yield* Agents
    yield* checks.register({
      name: "configuration",
      run: Effect.sync((): CheckResult => {
        const told = warnings.filter(({ path }) => path !== "general.model").map(format)
        return told.length > 0
          ? { status: "warning", message: told.join("\n") }
          : { status: "ok", message: file ?? "no file: defaults and the environment" }
      })
    })
    yield* checks.register({
      name: "model",
      run: Effect.sync((): CheckResult => {
        const { demo, model, setting } = modelStatus(agents.get())
        return demo
          ? {
              status: "warning",
              message: `the built-in demo answers: set ${setting}, or run opencraw config init`
            }
          : { status: "ok", message: model }
      })
    })
  })
)

const restingWords = (one: Resting): string => {
  const what = [
    one.model ?? `${one.provider} (all models)`,
    ...(one.profile === undefined ? [] : [one.profile])
  ]
  const until = new Date(one.until).toISOString()
  return one.state === "disabled"
    ? `${what.join(", ")}: the account is out of money; add some. It is tried again at ${until}`
    : `${what.join(", ")}: rests until ${until} (${one.reason})`
}

/** Which models and credentials are left alone after failures. Needs their health: only a running gateway has it. */
export const layerModels = Layer.effectDiscard(
  Effect.gen(function* () {
    const checks = yield* Checks
    const health = yield* ModelHealth
    yield* checks.register({
      name: "models",
      run: Effect.map(Clock.currentTimeMillis, (now): CheckResult => {
        const resting = health.resting(now)
        return resting.length === 0
          ? { status: "ok", message: "none is left alone after failures" }
          : { status: "warning", message: resting.map(restingWords).join("\n") }
      })
    })
  })
)

const ofAgents = Layer.unwrap(
  Effect.gen(function* () {
    const agents = yield* Agents
    const providers = yield* Providers
    const workspaces = () =>
      Object.entries(agents.get()).flatMap(([agent, { workspace }]) =>
        workspace === undefined ? [] : [{ agent, folder: workspace }]
      )
    const inUse = () => ({
      models: Object.values(agents.get()).flatMap(({ model = demoModel, fallbacks = [] }) => [
        model,
        ...fallbacks
      ]),
      providers: providers.get()
    })
    return Layer.merge(workspaceCheck.layer(workspaces), providerCheck.layer(inUse))
  })
)

/** Those of the settings and of what they name. Needs the registry and the loaded settings. */
export const layer = Layer.mergeAll(configuration, ofAgents, gatewayChecks.layerPage(pageFolder))

/** Those of the data directory. */
export const layerDataDir = Layer.mergeAll(diskCheck.layer, gatewayChecks.layerKeyFile)
