/**
 * `npm run build`: what is published, in `dist`: the program (a small entry, and chunks that a command loads when it needs them), and
 * the page.
 *
 * Owns: the bundle's options. Needs no network.
 */
import fs from "node:fs"
import { isBuiltin } from "node:module"
import path from "node:path"
import process from "node:process"
import { gzipSync } from "node:zlib"
import { build } from "esbuild"
import { root, stop } from "./house.mjs"
import { buildPage } from "./page.mjs"

const dist = path.join(root, "dist")
const entry = "opencraw.mjs"
const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} kB`

// Bundled CommonJS packages call `require` for Node's own modules, which an ES module does not have.
const banner = `import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);`

/** Chunks of an earlier build have other names and would be published too. */
const removeOld = () => {
  if (!fs.existsSync(dist)) return
  for (const name of fs.readdirSync(dist)) if (name.endsWith(".mjs")) fs.rmSync(path.join(dist, name))
}

const bundleGateway = async () => {
  removeOld()
  const result = await build({
    absWorkingDir: root,
    // The second runs the SQL of a project's file, in a process of its own.
    entryPoints: [
      { in: "layers/main.ts", out: "opencraw" },
      { in: "layers/horizons/projectFile.ts", out: "projectFile" }
    ],
    outdir: dist,
    outExtension: { ".js": ".mjs" },
    // Beside the entry, since a module finds the page and its version from where it stands.
    chunkNames: "[name]-[hash]",
    bundle: true,
    // --version and --help read a few kilobytes; the gateway is loaded by those who need it.
    splitting: true,
    platform: "node",
    target: "node24",
    format: "esm",
    // Names stay, so that a stack trace of the published file can be read; Effect takes no names from functions.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: "none",
    banner: { js: banner },
    // ws tries these two native helpers and works without them.
    external: ["bufferutil", "utf-8-validate"],
    metafile: true,
    logLevel: "warning"
  })
  const external = Object.values(result.metafile.outputs)
    .flatMap((output) => output.imports)
    .filter((entry) => entry.external && !isBuiltin(entry.path))
    .map((entry) => entry.path)
  return { warnings: result.warnings.length, external: new Set(external) }
}

const { external } = await bundleGateway().catch(() => stop("The gateway could not be bundled (see above)."))
const parts = fs.readdirSync(dist).filter((name) => name.endsWith(".mjs"))
fs.chmodSync(path.join(dist, entry), 0o755)
const sizes = (names) => {
  const files = names.map((name) => fs.readFileSync(path.join(dist, name)))
  const total = (each) => kilobytes(files.reduce((sum, bytes) => sum + each(bytes), 0))
  return `${total((bytes) => bytes.length)}  (${total((bytes) => gzipSync(bytes).length)} gzip)`
}
const chunks = parts.filter((name) => name !== entry)
process.stdout.write(
  `dist/${entry}  ${sizes([entry])}\n${chunks.length} chunks beside it  ${sizes(chunks)}\n`
)
if (external.size > 0) process.stdout.write(`left outside: ${[...external].sort().join(", ")}\n`)

// What the bundle knows of itself: its version, and that it is a module.
const { name, version, license } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"))
const about = { name, version, license, type: "module", engines: { node: ">=24" } }
fs.writeFileSync(path.join(root, "dist", "package.json"), `${JSON.stringify(about, null, 2)}\n`)

if (!buildPage(process.execPath)) process.exit(1)
for (const each of fs.readdirSync(path.join(root, "dist", "web"), { recursive: true }).sort()) {
  const file = path.join(root, "dist", "web", each)
  if (!fs.statSync(file).isFile()) continue
  const bytes = fs.readFileSync(file)
  process.stdout.write(
    `dist/web/${each}  ${kilobytes(bytes.length)}  (${kilobytes(gzipSync(bytes).length)} gzip)\n`
  )
}
