/**
 * The web page's files in `dist/web`, rebuilt when its sources changed.
 *
 * Owns: deciding whether the built page is of the present sources, and building it.
 * Does not own: how it is built (`src/web/vite.config.ts`) or served (`src/gateway`).
 */
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import fs from "node:fs"
import path from "node:path"
import { cache, environment, root, say, tool } from "./house.mjs"

const sources = path.join(root, "src", "web")
const target = path.join(root, "dist", "web")
const stampFile = path.join(cache, "page.sha256")

/** The hash of everything the page is made of: its sources and the locked versions of its tools. */
const sourcesHash = () => {
  const hash = createHash("sha256").update(fs.readFileSync(path.join(root, "package-lock.json")))
  const files = fs
    .readdirSync(sources, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name))
    .sort()
  for (const file of files) hash.update(`\0${path.relative(sources, file)}\0`).update(fs.readFileSync(file))
  return hash.digest("hex")
}

/** Build the page into `dist/web`. True when it is there afterwards. */
export const buildPage = (node) => {
  const vite = tool("vite", "bin/vite.js")
  if (vite === undefined) {
    say("The page cannot be built: vite is not installed. Run `npm ci` for it.")
    return false
  }
  const hash = sourcesHash()
  // Built aside and moved into place, so that a running gateway never serves half a page.
  const fresh = `${target}-${process.pid}`
  const config = path.join(sources, "vite.config.ts")
  const args = [vite, "build", "--config", config, "--outDir", fresh, "--emptyOutDir", "--logLevel", "warn"]
  const done = spawnSync(node, args, { cwd: root, stdio: ["ignore", 2, 2], env: environment(node) })
  if (done.status !== 0) {
    fs.rmSync(fresh, { recursive: true, force: true })
    say("The page could not be built (see above).")
    return false
  }
  fs.rmSync(target, { recursive: true, force: true })
  fs.renameSync(fresh, target)
  fs.mkdirSync(cache, { recursive: true })
  fs.writeFileSync(stampFile, hash)
  return true
}

/** Build the page if it is missing or older than its sources. The gateway can serve without it, so this never ends it. */
export const preparePage = (node) => {
  if (!fs.existsSync(sources)) return
  const built = fs.existsSync(path.join(target, "index.html")) && fs.existsSync(stampFile)
  if (built && fs.readFileSync(stampFile, "utf8") === sourcesHash()) return
  say("Building the page ...")
  buildPage(node)
}
