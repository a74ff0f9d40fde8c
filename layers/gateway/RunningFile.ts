/**
 * `gateway.json` in the data directory: where the running gateway is found by the command line.
 *
 * A gateway that is killed leaves it behind, so that whoever reads it must see whether the gateway answers.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

export interface RunningGateway {
  readonly url: string
  readonly pid: number
}

const fileOf = (dataDir: string) => join(dataDir, "gateway.json")

export const write = (dataDir: string, running: RunningGateway): void =>
  writeFileSync(fileOf(dataDir), JSON.stringify(running), { mode: 0o600 })

export const remove = (dataDir: string): void => rmSync(fileOf(dataDir), { force: true })

/** Undefined when none has been left there, or it cannot be read. */
export const read = (dataDir: string): RunningGateway | undefined => {
  try {
    const found: unknown = JSON.parse(readFileSync(fileOf(dataDir), "utf8"))
    return typeof found === "object" &&
      found !== null &&
      "url" in found &&
      typeof found.url === "string" &&
      "pid" in found &&
      typeof found.pid === "number"
      ? { url: found.url, pid: found.pid }
      : undefined
  } catch {
    return undefined
  }
}
