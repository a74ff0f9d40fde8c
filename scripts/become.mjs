/**
 * Starting a program in the place of the command that was typed.
 *
 * Owns: handing on its streams, its signals and its exit code. Does not own: what is started (`run.mjs`).
 */
import { spawn } from "node:child_process"
import process from "node:process"
import { root, stop } from "./house.mjs"

const signalNumbers = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 }
/**
 * npm passes SIGTERM to a shell between itself and us, which dies and tells nobody. So below npm, a parent that is
 * gone means: stop. Without npm it means nothing (`nohup`, a closed login).
 */
const whenOrphaned = (act) => {
  if (process.env["npm_lifecycle_event"] === undefined) return () => {}
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    act()
  }, 250)
  return () => clearInterval(timer)
}

/** One Ctrl-C reaches us from the terminal and again from npm; presses closer than this are one. */
const SAME_PRESS_MS = 400

/**
 * Start a program in our place: same standard streams, signals handed on, and our exit code is its own.
 * The first Ctrl-C asks it to stop; a second one kills it.
 */
export const become = (program, args, options = {}) => {
  const child = spawn(program, args, { cwd: root, stdio: "inherit", ...options })
  let interruptedAt = 0
  let told = false
  const pass = (signal) => {
    told = true
    if (signal === "SIGINT") {
      const now = Date.now()
      if (interruptedAt === 0) interruptedAt = now
      else if (now - interruptedAt < SAME_PRESS_MS) return
      else return void child.kill("SIGKILL")
      // A terminal has sent it to the child as well.
      if (process.stdin.isTTY) return
    }
    child.kill(signal)
  }
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, pass)
  const forget = whenOrphaned(() => told || pass("SIGTERM"))
  child.on("error", (error) => stop(`${program} did not start: ${error.message}`))
  child.on("exit", (code, signal) => {
    process.exitCode = code ?? 128 + (signalNumbers[signal] ?? 0)
    for (const each of ["SIGINT", "SIGTERM", "SIGHUP"]) {
      process.off(each, pass)
      // One that comes in the last moment must not take the exit code away.
      process.on(each, () => process.exit())
    }
    forget()
  })
  return child
}
