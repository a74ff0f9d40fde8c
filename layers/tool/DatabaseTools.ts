/**
 * `database.query` and `database.execute`: the tables that agents of a project share, by SQL.
 *
 * Owns: the two tools and the words they answer with. Does not own: what SQL may do (`ProjectDb`). A gateway that keeps no databases for
 * projects does not offer them.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { ProjectDb, type ProjectDbError, type SqlRows, type SqlValue } from "#src/horizons/ProjectDb.ts"
import { ProjectDbPlace } from "#src/horizons/ProjectDbSettings.ts"
import { decodeArguments } from "#src/tool/arguments.ts"
import { layerRegister, type Tool, ToolError } from "#src/tool/Tools.ts"

const maxSql = 100_000
const maxParams = 100
const maxStatements = 50
/** Beside the time that the database gives it: for its turn. */
const spareMillis = 20_000

const Value = Schema.Union([Schema.String, Schema.Finite, Schema.Boolean, Schema.Null])
const statement = {
  sql: Schema.String.check(Schema.isBetweenLength(1, maxSql)),
  params: Schema.optionalKey(Schema.Array(Value).check(Schema.isMaxLength(maxParams)))
}
const decodeQuery = decodeArguments(Schema.Struct(statement))
const decodeExecute = decodeArguments(
  Schema.Struct({
    statements: Schema.Array(Schema.Struct(statement)).check(
      Schema.isMinLength(1),
      Schema.isMaxLength(maxStatements)
    )
  })
)

const statementParameters = (about: string) => ({
  type: "object",
  properties: {
    sql: { type: "string", minLength: 1, maxLength: maxSql, description: about },
    params: {
      type: "array",
      maxItems: maxParams,
      items: { type: ["string", "number", "boolean", "null"] },
      description: "Values of $1, $2 and so on"
    }
  },
  required: ["sql"],
  additionalProperties: false
})

/** The columns, then a line for each row: JSON, so that text and numbers differ. */
const inWords = ({ columns, rows, isAll }: SqlRows): string =>
  [
    JSON.stringify(columns),
    ...rows.map((row) => JSON.stringify(row)),
    isAll ? `[${rows.length} rows]` : `[the first ${rows.length} rows; there are more]`
  ].join("\n")

const explained = (names: boolean) =>
  Effect.mapError((error: ProjectDbError) => {
    const { reason } = error
    const where = names && reason._tag === "SqlRefused" ? `statement ${reason.statement + 1}: ` : ""
    return new ToolError({ message: `${where}${error.message}` })
  })

const withParams = ({
  sql,
  params = []
}: {
  readonly sql: string
  readonly params?: ReadonlyArray<SqlValue>
}) => ({
  sql,
  params
})

/** Registers both, unless there are no databases. */
export const layer = Layer.unwrap(
  Effect.gen(function* () {
    const db = yield* ProjectDb
    const settings = yield* ProjectDbPlace
    if (db.dialect === undefined) return Layer.empty
    const [dialect, listing] =
      db.dialect === "sqlite"
        ? ["SQLite", "SELECT name, sql FROM sqlite_schema lists the tables."]
        : ["PostgreSQL", "information_schema.columns lists the tables' columns; they are in the schema data."]
    const timeoutMillis = settings.get().timeout_s * 1000 + spareMillis

    const query: Tool = {
      spec: {
        name: "database.query",
        description: `Ask the project's own database, which all its agents and sessions share: one SQL statement of ${dialect} that only reads. ${listing} Answers the columns and then a line of JSON for each row.`,
        parameters: statementParameters("One SELECT, WITH or VALUES; placeholders are $1, $2")
      },
      effects: "none",
      needsWorkspace: false,
      timeoutMillis,
      run: Effect.fn("DatabaseTools.query")(function* (args, { tenant }) {
        const asked = yield* decodeQuery(args)
        const found = yield* db
          .query(tenant, withParams(asked), settings.get().max_rows)
          .pipe(explained(false))
        return inWords(found)
      })
    }
    const execute: Tool = {
      spec: {
        name: "database.execute",
        description: `Change the project's own database: SQL statements of ${dialect} that create tables and write rows, all of them or none. What is in it stays. Answers how many rows each statement changed.`,
        parameters: {
          type: "object",
          properties: {
            statements: {
              type: "array",
              minItems: 1,
              maxItems: maxStatements,
              items: statementParameters("One statement; placeholders are $1, $2")
            }
          },
          required: ["statements"],
          additionalProperties: false
        }
      },
      effects: "once",
      needsWorkspace: false,
      timeoutMillis,
      run: Effect.fn("DatabaseTools.execute")(function* (args, { tenant }) {
        const { statements } = yield* decodeExecute(args)
        const changes = yield* db.execute(tenant, statements.map(withParams)).pipe(explained(true))
        return changes.map((count, at) => `statement ${at + 1}: ${count} rows changed`).join("\n")
      })
    }
    return layerRegister([query, execute])
  })
)
