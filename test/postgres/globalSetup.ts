/** One server for a whole run of the tests, started when the first test asks for it. */
import { once } from "node:events"
import fs from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import path from "node:path"
import type { TestProject } from "vitest/node"
import { type Server, startServer } from "./server.ts"

export default async (project: TestProject) => {
  const folder = fs.mkdtempSync(path.join(tmpdir(), "opencraw-door-"))
  const door = path.join(folder, "postgres.sock")
  let starting: Promise<Server> | undefined
  const listener = createServer((socket) => {
    // What is durable is tested by killing processes, which needs no sync of the disk.
    starting ??= startServer(["fsync=off"])
    starting.then(
      ({ url }) => socket.end(url),
      (error: unknown) => socket.destroy(error instanceof Error ? error : undefined)
    )
    socket.on("error", () => undefined)
  })
  listener.listen(door)
  await once(listener, "listening")
  project.provide("postgresDoor", door)
  return async () => {
    listener.close()
    await starting?.then(
      (server) => server.stop(),
      () => undefined
    )
    fs.rmSync(folder, { recursive: true, force: true })
  }
}
