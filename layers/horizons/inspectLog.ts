/**
 * Looks at a log from outside, for `doctor`: is it of a schema that this version knows, and is every page of it whole.
 *
 * Reads only, on a connection of its own, so that it can be asked beside a running gateway. It reads the whole file and blocks
 * meanwhile: never in a gateway.
 */
import { existsSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import type { CheckResult } from "#src/check/Checks.ts"
import { known, SchemaTooNew, table } from "./sqlSchema.ts"

const advice = "stop the gateway, keep a copy of its folder, then restore a backup"

/** The newest migration that ran in an open file; 0 for a fresh one. */
export const schemaOf = (database: DatabaseSync): number => {
  const exists = database.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?").get(table)
  if (exists === undefined) return 0
  return Number(database.prepare(`SELECT max(migration_id) AS id FROM ${table}`).get()?.["id"] ?? 0)
}

const damages = (database: DatabaseSync): ReadonlyArray<string> =>
  database
    .prepare("PRAGMA quick_check(3)")
    .all()
    .map((row) => String(Object.values(row)[0]))
    .filter((line) => line !== "ok")

/** What is found in this file. A missing one is right: it is made at the first start. */
export const inspectLog = (filename: string): CheckResult => {
  if (!existsSync(filename)) return { status: "ok", message: "there is no log yet; the first start makes it" }
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(filename, { readOnly: true, timeout: 2000 })
    const found = schemaOf(database)
    if (found > known) return { status: "failed", message: new SchemaTooNew({ found, known }).message }
    const [damage] = damages(database)
    return damage === undefined
      ? { status: "ok", message: "every page of the log is whole" }
      : { status: "failed", message: `the log ${filename} is damaged (${damage}): ${advice}` }
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : String(cause)
    return {
      status: "failed",
      message: `the log ${filename} is damaged or no database (${detail}): ${advice}`
    }
  } finally {
    database?.close()
  }
}
