/** A real PgBouncer in transaction mode before a server of ours. */
import { spawn } from "node:child_process"
import fs from "node:fs"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import path from "node:path"
import { freePort, unprivileged } from "./server.ts"

const program = "/usr/sbin/pgbouncer"
export const withoutPooler = process.env["CI"] !== "true" && !fs.existsSync(program)
export const named = (what: string) =>
  fs.existsSync(program) ? what : `${what} (needs PgBouncer: apt-get install pgbouncer)`

const answers = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, "127.0.0.1", () => (socket.destroy(), resolve(true)))
    socket.on("error", () => resolve(false))
  })

/** `mode` is its pool_mode. */
export const startPooler = async (serverUrl: string, mode: "transaction" | "session") => {
  const server = new URL(serverUrl)
  const port = await freePort()
  const folder = fs.mkdtempSync(path.join(tmpdir(), "opencraw-pooler-"))
  const users = path.join(folder, "users")
  const config = path.join(folder, "pgbouncer.ini")
  fs.writeFileSync(users, `"${server.username}" ""\n`)
  fs.writeFileSync(
    config,
    `[databases]\n* = host=${server.hostname} port=${server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\n` +
      `unix_socket_dir =\nauth_type = trust\nauth_file = ${users}\npool_mode = ${mode}\n`
  )
  for (const file of [folder, users, config]) {
    if (unprivileged.uid !== undefined) fs.chownSync(file, unprivileged.uid, unprivileged.gid)
  }
  const child = spawn(program, ["-q", config], { ...unprivileged, stdio: "ignore" })
  while (!(await answers(port))) {
    if (child.exitCode !== null) throw new Error("PgBouncer ended")
    await new Promise((done) => setTimeout(done, 20))
  }
  server.port = String(port)
  return {
    url: server.href,
    stop: () => {
      child.kill("SIGKILL")
      fs.rmSync(folder, { recursive: true, force: true })
    }
  }
}
