/** What is published, as somebody who has only that: packed, installed in an empty folder, run with an empty home. */
import { assert, describe, it } from "@effect/vitest"
import { spawn, spawnSync } from "node:child_process"
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs"
import { dirname, join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { newFolder } from "./gatewayProcess.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const hasNpm = spawnSync("npm", ["--version"]).status === 0

/** Packing builds, and other tests use what is built here. */
const copyOfCheckout = (folder: string): string => {
  const copy = join(folder, "checkout")
  mkdirSync(copy)
  const parts = [
    "src",
    "layers",
    "scripts",
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "LICENSE",
    "README.md"
  ]
  for (const name of parts) cpSync(join(root, name), join(copy, name), { recursive: true })
  // Not the cache: it remembers what was built here.
  mkdirSync(join(copy, "node_modules"))
  for (const name of readdirSync(join(root, "node_modules"))) {
    if (name === ".cache") continue
    symlinkSync(join(root, "node_modules", name), join(copy, "node_modules", name))
  }
  return copy
}

describe.skipIf(!hasNpm)("the package (needs npm)", () => {
  it(
    "installs without any other package and runs: version, doctor, serve, one message",
    { timeout: 180_000 },
    async () => {
      const folder = newFolder()
      const home = join(folder, "home")
      const target = join(folder, "installed")
      mkdirSync(home)
      mkdirSync(target)
      // Only what a stranger's shell has: this Node, the system's tools, an empty home.
      const env = {
        PATH: `${dirname(process.execPath)}:${process.env["PATH"] ?? ""}`,
        HOME: home,
        OPENCRAW_PORT: "0"
      }
      const run = (cwd: string, program: string, ...args: ReadonlyArray<string>) => {
        const done = spawnSync(program, args, { cwd, env, encoding: "utf8" })
        assert.strictEqual(done.status, 0, `${program} ${args.join(" ")}\n${done.stdout}${done.stderr}`)
        return done.stdout
      }
      run(copyOfCheckout(folder), "npm", "pack", "--silent", "--pack-destination", folder)
      const tarball = readdirSync(folder).find((name) => name.endsWith(".tgz")) ?? ""
      const began = performance.now()
      // Offline: it must need nothing else.
      run(target, "npm", "install", "--offline", "--no-audit", "--no-fund", join(folder, tarball))
      assert.isBelow(performance.now() - began, 60_000)

      const modules = join(target, "node_modules")
      assert.deepStrictEqual(
        readdirSync(modules).filter((name) => !name.startsWith(".")),
        ["opencraw"]
      )
      const published = readdirSync(join(modules, "opencraw"))
      assert.sameMembers(published, ["LICENSE", "README.md", "dist", "package.json"])
      assert.isFalse(existsSync(join(modules, "opencraw", "dist", "layers")))

      const opencraw = join(modules, ".bin", "opencraw")
      const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }
      assert.strictEqual(run(target, opencraw, "--version"), `${version}\n`)
      assert.match(run(target, opencraw, "doctor"), /ok +page +the page is built[^]*0 failed/)

      const gateway = spawn(opencraw, ["serve"], { cwd: target, env, stdio: ["ignore", "pipe", "ignore"] })
      try {
        const url = await new Promise<string>((resolve, reject) => {
          createInterface({ input: gateway.stdout }).on("line", (line) => {
            if (line.includes("gateway.ready")) resolve((JSON.parse(line) as { readonly url: string }).url)
          })
          gateway.once("exit", () => reject(new Error("it did not start")))
        })
        assert.include(run(target, opencraw, "send", "hello"), "You wrote: hello")
        // Its SQL runs in a process of its own, from a file of its own.
        run(target, opencraw, "db", "execute", "CREATE TABLE a (x INTEGER)")
        assert.strictEqual(
          run(target, opencraw, "db", "query", "SELECT 7 AS x", "--json"),
          '{"columns":["x"],"rows":[[7]],"is_all":true}\n'
        )
        const link = new URL(run(target, opencraw, "open").trim())
        assert.strictEqual(link.origin, url)
        const code = link.hash.replace("#code=", "")
        const cookie = (
          await fetch(`${url}/auth/code`, {
            method: "POST",
            headers: { "content-type": "application/json", origin: url },
            body: JSON.stringify({ code })
          })
        ).headers
          .getSetCookie()[0]
          ?.split(";")[0]
        const answer = await fetch(`${url}/v1/chat/completions`, {
          method: "POST",
          headers: { "content-type": "application/json", origin: url, cookie: cookie ?? "" },
          body: JSON.stringify({ model: "opencraw", messages: [{ role: "user", content: "over HTTP" }] })
        })
        assert.strictEqual(answer.status, 200)
        assert.include(await answer.text(), "over HTTP")
        assert.match(await (await fetch(url)).text(), /<script/)
      } finally {
        gateway.kill("SIGTERM")
      }
      const [code] = await new Promise<ReadonlyArray<unknown>>((done) =>
        gateway.once("exit", (...args) => done(args))
      )
      assert.strictEqual(code, 0)
      // Beside the one folder that holds its data it leaves nothing in a home.
      assert.sameMembers(
        readdirSync(home).filter((name) => name !== ".npm"),
        [".opencraw"]
      )
    }
  )
})
