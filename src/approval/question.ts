/**
 * How a person is asked whether a tool may be used. Pure.
 *
 * Does not own: asking and deciding (`lane`).
 */
import type { ApprovalId } from "#src/domain/Ids.ts"
import type { ToolCall } from "#src/domain/Tool.ts"

/** Most characters of a call's arguments that a person is shown. */
const longestArguments = 600

/** What the person is told; the commands in it answer the question. */
export const question = (id: ApprovalId, call: ToolCall, seconds: number): string => {
  const given = Array.from(call.arguments.trim())
  const shown =
    given.length > longestArguments ? `${given.slice(0, longestArguments).join("")}…` : given.join("")
  return [
    `May I use ${call.name}${shown === "" || shown === "{}" ? "" : ` with ${shown}`}?`,
    `Answer /approve ${id} or /deny ${id} within ${duration(seconds)}.`
  ].join("\n")
}

const duration = (seconds: number): string => {
  if (seconds < 120) return `${seconds} seconds`
  if (seconds < 7200) return `${Math.floor(seconds / 60)} minutes`
  return `${Math.floor(seconds / 3600)} hours`
}
