/**
 * `npm run check`: every guard of the code that is not a test of behaviour, each named with its result.
 *
 * Owns: the list of guards. `npm run check -- lint types` runs only those. The last line is `N passed, N failed`.
 */
import { spawnSync } from "node:child_process"
import process from "node:process"
import { environment, root, stop, tool } from "./house.mjs"

const guards = [
  { name: "types", tool: ["typescript", "bin/tsc"], args: ["-p", "tsconfig.json"] },
  { name: "page types", tool: ["typescript", "bin/tsc"], args: ["-p", "src/web/tsconfig.json"] },
  {
    name: "effect diagnostics",
    tool: ["@effect/tsgo", "dist/effect-tsgo.cjs"],
    args: ["diagnostics", "--project", "tsconfig.json", "--format", "text", "--severity", "error,warning"]
  },
  { name: "lint", tool: ["oxlint", "bin/oxlint"], args: ["--deny-warnings", "--format", "unix"] },
  { name: "format", tool: ["oxfmt", "bin/oxfmt"], args: ["--check", "."] },
  { name: "stairs", tool: ["vitest", "vitest.mjs"], args: ["run", "test/architecture"] },
  { name: "dead code", tool: ["knip", "bin/knip.js"], args: ["--no-progress"] }
]

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !guards.some((guard) => guard.name === name))
if (unknown.length > 0) {
  stop(`No such check: ${unknown.join(", ")}. There are: ${guards.map((guard) => guard.name).join(", ")}.`, 2)
}

let failed = 0
let passed = 0
for (const guard of guards) {
  if (wanted.length > 0 && !wanted.includes(guard.name)) continue
  const started = Date.now()
  const file = tool(...guard.tool)
  const done =
    file === undefined
      ? { status: 1, stdout: "", stderr: `${guard.tool[0]} is not installed: run \`npm ci\`.\n` }
      : spawnSync(process.execPath, [file, ...guard.args], {
          cwd: root,
          encoding: "utf8",
          maxBuffer: 64 * 1024 * 1024,
          env: environment(process.execPath)
        })
  const ok = done.status === 0
  if (ok) passed += 1
  else failed += 1
  if (!ok)
    process.stdout.write(`${done.stdout ?? ""}${done.stderr ?? ""}${done.error ? `${done.error}\n` : ""}`)
  process.stdout.write(
    `${ok ? "pass" : "FAIL"}  ${guard.name}  ${((Date.now() - started) / 1000).toFixed(1)} s\n`
  )
}
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1
