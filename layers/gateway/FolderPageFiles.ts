/** The page's files from a folder. A link or path that leads out of it is not there. */
import { readFile, realpath } from "node:fs/promises"
import path from "node:path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { PageFiles, type PageFile } from "#src/gateway/PageFiles.ts"

const types: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".ico": "image/x-icon",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".webmanifest": "application/manifest+json",
  ".woff2": "font/woff2"
}

// The bundler puts hashed names, and only those, here.
const hashed = /^\/assets\/.+-[\w-]{8,}\.\w+$/

const read = async (folder: string, name: string): Promise<PageFile | undefined> => {
  const relative = name === "/" ? "index.html" : name.slice(1)
  const parts = relative.split(/[/\\]/)
  if (relative.includes("\0") || parts.some((part) => part === "" || part.startsWith("."))) return undefined
  const contentType = types[path.extname(relative).toLowerCase()]
  if (contentType === undefined) return undefined
  const root = await realpath(folder)
  const file = await realpath(path.join(root, ...parts))
  if (!file.startsWith(root + path.sep)) return undefined
  return { bytes: await readFile(file), contentType, isImmutable: hashed.test(name) }
}

/** Files of known types only; whatever cannot be read is not there. */
export const layer = (folder: string) =>
  Layer.succeed(PageFiles)(
    PageFiles.of({
      read: (name) => Effect.promise(() => read(folder, name).catch(() => undefined))
    })
  )
