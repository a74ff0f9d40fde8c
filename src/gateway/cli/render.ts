/** What the command line shows people of the API's answers. Pure; `--json` shows the answers themselves. */
import * as DateTime from "effect/DateTime"
import { money } from "#src/session/usageText.ts"
import type * as Api from "../apiSchemas.ts"

/** Text of others must not steer the terminal: its control characters are shown as marks. */
export const plain = (text: string): string =>
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "\uFFFD")

/** Columns as wide as their widest cell. */
export const table = (header: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const all = [header, ...rows]
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)))
  return all
    .map((row) =>
      row
        .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
        .join("  ")
        .trimEnd()
    )
    .map((line) => `${line}\n`)
    .join("")
}

const units = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000]
] as const

/** `3 min ago`. */
export const ago = (at: number, now: number): string => {
  const passed = Math.max(0, now - at)
  const unit = units.find(([, millis]) => passed >= millis)
  return unit === undefined ? "now" : `${Math.floor(passed / unit[1])} ${unit[0]} ago`
}

export const sessions = (list: ReadonlyArray<typeof Api.Session.Type>, now: number): string =>
  list.length === 0
    ? "No sessions yet.\n"
    : table(
        ["SESSION", "ENTRIES", "OPEN", "LAST"],
        list.map((one) => [one.session_key, String(one.seq), String(one.open), ago(one.updated_at, now)])
      )

/** UTC, to the millisecond. */
const isoOf = (millis: number): string => DateTime.formatIso(DateTime.makeUnsafe(millis))

const speakers = { user: "you", assistant: "agent", system: "gateway" } as const

export const transcript = (messages: ReadonlyArray<typeof Api.TranscriptMessage.Type>): string =>
  messages
    .map((message) => {
      const cut = message.partial === undefined ? "" : ` (${message.partial})`
      const time = isoOf(message.created_at).slice(0, 19).replace("T", " ")
      return `${time}Z  ${speakers[message.role]}${cut}  ${message.seq}  [${message.id}]\n${plain(message.content).trimEnd()}\n`
    })
    .join("\n")

/** A transcript for people to keep. */
export const markdown = (key: string, messages: ReadonlyArray<typeof Api.TranscriptMessage.Type>): string =>
  [
    `# ${key}`,
    ...messages.map(
      (message) =>
        `\n**${speakers[message.role]}**, ${isoOf(message.created_at)}${
          message.partial === undefined ? "" : ` (${message.partial})`
        }\n\n${message.content.trimEnd()}`
    ),
    ""
  ].join("\n")

export const trace = (status: typeof Api.MessageStatus.Type): string => {
  const end =
    status.outcome === undefined
      ? status.state
      : `${status.outcome}${status.by === undefined ? "" : ` by ${status.by}`}`
  const head = `${status.id}  ${status.session_key}  ${end}${
    status.attempts > 1 ? `, ${status.attempts} attempts` : ""
  }\n`
  const failure = status.failure === undefined ? "" : `  ${plain(status.failure.message)}\n`
  const steps = status.timeline.map((step) => {
    const tokens =
      step.tokens === undefined
        ? ""
        : `${step.tokens.input} tokens in, ${step.tokens.output} out${step.tokens.estimated ? " (estimated)" : ""}`
    const cost = step.cost_usd_micros === undefined ? "" : money(step.cost_usd_micros)
    return [
      `  +${Math.round(step.ms)} ms`,
      step.step.replace("_", " "),
      [step.name ?? "", step.status ?? "", tokens, cost].filter((word) => word !== "").join(", ")
    ]
  })
  return head + failure + table(["  AFTER", "STEP", ""], steps)
}

/** `3 min`, of a time that began at `at`. */
const passed = (at: number | undefined, now: number): string =>
  at === undefined ? "" : ago(at, now).replace(" ago", "")

const doing = ({ run, fenced }: typeof Api.Lane.Type): string =>
  [
    ...(run === undefined ? [] : run.tools.map(plain)),
    ...(run?.stall === undefined ? [] : [run.stall]),
    ...(run === undefined || run.attempt < 2 ? [] : [`attempt ${run.attempt}`]),
    ...(fenced === 0 ? [] : [`${fenced} told to stop and still running`])
  ].join(", ")

export const lanes = (
  { paused, lanes: list, nodes = [] }: Pick<typeof Api.Lanes.Type, "paused" | "lanes" | "nodes">,
  now: number
): string => {
  const owners = nodes.map((node) => [plain(node.id), String(node.buckets), node.this ? "these lanes" : ""])
  const head =
    (owners.length === 0 ? "" : `${table(["NODE", "BUCKETS", ""], owners)}\n`) +
    (paused ? "The whole gateway is paused: opencraw lanes resume\n" : "")
  if (list.length === 0) return `${head}No session is at work.\n`
  const rows = list.map((lane) => [
    plain(lane.session_key),
    lane.paused && !paused ? `${lane.phase}, paused` : lane.phase,
    String(lane.depth),
    passed(lane.oldest_at, now),
    lane.run === undefined ? "" : String(lane.run.step),
    passed(lane.run?.began_at, now),
    lane.may_cost_usd_micros === undefined ? "" : money(lane.may_cost_usd_micros),
    lane.elsewhere === true ? "on another node" : doing(lane)
  ])
  return (
    head +
    table(["SESSION", "PHASE", "WAITING", "OLDEST", "STEP", "RUNS FOR", "COSTS AT MOST", "DOING"], rows)
  )
}

const keyWords = {
  total: "",
  day: "DAY (UTC)",
  agent: "AGENT",
  session: "SESSION",
  sender: "SENDER",
  model: "MODEL"
} as const

/** Sums of usage, their total below them. */
export const usage = ({ by, usage: rows, total }: typeof Api.UsageReport.Type): string => {
  if (total === undefined) return "Nothing was spent in these days.\n"
  const line = (name: string, row: typeof Api.UsageSum.Type) => [
    name,
    row.cost_usd_micros === undefined ? "unknown" : money(row.cost_usd_micros),
    String(row.input_tokens),
    String(row.output_tokens),
    String(row.cached_tokens),
    String(row.calls)
  ]
  const lines = by === "total" ? [] : rows.map((row) => line(plain(row.key) || "(deleted)", row))
  const unpriced =
    total.unpriced_calls === 0
      ? ""
      : `The price of ${total.unpriced_calls} of ${total.calls} calls is not known: their money is not counted. Set it: usage.prices.\n`
  const estimated =
    total.estimated_calls === 0
      ? ""
      : `Of ${total.estimated_calls} of ${total.calls} calls the tokens are estimated: their provider told none.\n`
  const header = [keyWords[by], "MONEY", "IN", "OUT", "CACHED", "CALLS"]
  return table(header, [...lines, line("total", total)]) + unpriced + estimated
}
export const approvals = (list: ReadonlyArray<typeof Api.Approval.Type>): string =>
  list.length === 0
    ? "Nothing waits for a decision.\n"
    : table(
        ["APPROVAL", "SESSION", "UNTIL", "TOOL", "ARGUMENTS"],
        list.map((one) => [
          one.id,
          one.session_key,
          `${isoOf(one.expires_at).slice(0, 19).replace("T", " ")}Z`,
          plain(one.tool),
          plain(one.arguments).replaceAll("\n", " ")
        ])
      )

export const models = (list: ReadonlyArray<typeof Api.Model.Type>): string =>
  table(
    ["MODEL", "FIRST OF", "FALLBACK OF", "ALSO CALLED", "STATE"],
    list.map(({ model, first_of, fallback_of, aliases, state }) =>
      [model, first_of.join(", "), fallback_of.join(", "), aliases.join(", "), state].map(plain)
    )
  )

export const resting = (list: ReadonlyArray<typeof Api.Resting.Type>): string =>
  list.length === 0
    ? "Nothing rests: every model may be asked.\n"
    : table(
        ["PROVIDER", "MODEL", "CREDENTIAL", "STATE", "REASON", "UNTIL"],
        list.map(({ provider, model = "all", profile = "", state, reason, until }) =>
          [provider, model, profile, state, reason, until].map(plain)
        )
      )

const marks = { ok: "ok  ", warning: "warn", failed: "FAIL" } as const

/** Checks, the failed ones last, where the eye is. */
export const checks = (list: ReadonlyArray<typeof Api.Check.Type>): string => {
  const order = { ok: 0, warning: 1, failed: 2 } as const
  const sorted = list.toSorted((a, b) => order[a.status] - order[b.status])
  const width = Math.max(0, ...list.map(({ name }) => name.length))
  const failed = list.filter(({ status }) => status === "failed").length
  const warned = list.filter(({ status }) => status === "warning").length
  const indent = " ".repeat(width + 8)
  return [
    ...sorted.map(
      ({ name, status, message }) =>
        `${marks[status]}  ${name.padEnd(width)}  ${plain(message).replaceAll("\n", `\n${indent}`)}`
    ),
    `${list.length - failed - warned} ok, ${warned} to look at, ${failed} failed`,
    ""
  ].join("\n")
}

type ApiKey = typeof Api.ApiKey.Type

const dayOf = (millis: number): string => isoOf(millis).slice(0, 16).replace("T", " ")

/** A key that was just made, without the key. */
export const madeKey = ({ id, name, user, scopes, expires_at: until }: ApiKey): string =>
  `${plain(name)} (${id}) may ${scopes.join(", ")} as ${plain(user)}${until === undefined ? "" : `, until ${dayOf(until)}Z`}.\n`

export const keys = (list: ReadonlyArray<ApiKey>, now: number): string =>
  list.length === 0
    ? "No API keys yet: opencraw keys create --name NAME --scope chat\n"
    : table(
        ["NAME", "ID", "SCOPES", "USER", "STATE", "EXPIRES", "LAST USED"],
        list.map((one) => [
          plain(one.name),
          one.id,
          one.scopes.join(","),
          plain(one.user),
          one.state,
          one.expires_at === undefined ? "never" : `${dayOf(one.expires_at)}Z`,
          one.last_used_at === undefined ? "never" : ago(one.last_used_at, now)
        ])
      )

const madeAt = (at: number, now: number): string => (at === 0 ? "before" : ago(at, now))

export const orgs = (list: ReadonlyArray<typeof Api.Org.Type>, now: number): string =>
  table(
    ["ORG", "NAME", "MADE"],
    list.map((one) => [one.org, plain(one.name), madeAt(one.created_at, now)])
  )

export const projects = (list: ReadonlyArray<typeof Api.Project.Type>, now: number): string =>
  table(
    ["PROJECT", "NAME", "MADE"],
    list.map((one) => [one.project, plain(one.name), madeAt(one.created_at, now)])
  )

export const agents = (list: ReadonlyArray<typeof Api.ProjectAgent.Type>, now: number): string =>
  list.length === 0
    ? "The project has no agents of its own: opencraw agents set NAME --system TEXT\n"
    : table(
        ["AGENT", "MODEL", "CHANGED", "TOLD FIRST"],
        list.map((one) => [
          one.name,
          plain(String(one.settings["model"] ?? "that of main")),
          ago(one.updated_at, now),
          cell(String(one.settings["system_prompt"] ?? "")).slice(0, 60)
        ])
      )

export const users = (list: ReadonlyArray<typeof Api.User.Type>, now: number): string =>
  list.length === 0
    ? "No users yet: opencraw users create NAME\n"
    : table(
        ["USER", "ROLE", "STATE", "MADE", "EMAIL"],
        list.map((one) => [
          plain(one.id),
          one.role,
          one.disabled_at === undefined ? "active" : `disabled ${ago(one.disabled_at, now)}`,
          madeAt(one.created_at, now),
          plain(one.email ?? "")
        ])
      )

const sqlCell = (value: unknown): string =>
  value === null ? "NULL" : plain(typeof value === "string" ? value : JSON.stringify(value))

/** Rows of a project's database. */
export const sqlRows = ({ columns, rows, is_all: isAll }: typeof Api.SqlRows.Type): string => {
  const count = `${rows.length} ${rows.length === 1 ? "row" : "rows"}`
  return `${table(
    columns.map(plain),
    rows.map((row) => row.map(sqlCell))
  )}${isAll ? count : `the first ${count}; there are more`}\n`
}

export const credentials = (list: ReadonlyArray<typeof Api.Credential.Type>, now: number): string =>
  list.length === 0
    ? "No stored credentials: opencraw credentials set NAME\n"
    : table(
        ["NAME", "SET", "ENCRYPTED WITH"],
        list.map((one) => [plain(one.name), ago(one.updated_at, now), one.key_id])
      )

/** On one line. */
const cell = (text: string): string => plain(text).replaceAll(/[\n\t]/g, " ")

export const audit = (events: ReadonlyArray<typeof Api.AuditEvent.Type>): string =>
  events.length === 0
    ? "Nothing was done yet.\n"
    : table(
        ["TIME (UTC)", "WHO", "WHAT", "TO", "MORE"],
        events.map(({ at, actor, action, subject, detail }) => [
          isoOf(at).slice(0, 19).replace("T", " "),
          cell(actor),
          action,
          cell(subject),
          cell(
            Object.entries(detail)
              .map(([key, value]) => `${key}=${value}`)
              .join(" ")
          )
        ])
      )
