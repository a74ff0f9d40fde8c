/**
 * Where is my message: everything the gateway knows of one, in order of time.
 *
 * Owns: asking for it, again whenever `stage` changes, and the words for each step.
 */
import { useEffect, useState } from "preact/hooks"
import { findMessageId, getJson } from "./client.ts"
import type { UserLine } from "./transcript.ts"

interface Step {
  readonly step: "accepted" | "run_started" | "model" | "tool" | "slow" | "run_ended" | "sent"
  readonly ms: number
  readonly name?: string
  readonly status?: string
  readonly tokens?: { readonly input: number; readonly output: number; readonly estimated: boolean }
  readonly cost_usd_micros?: number
}
interface Status {
  readonly id: string
  readonly state: "queued" | "running" | "ended"
  readonly outcome?: string
  readonly by?: string
  readonly failure?: { readonly message: string }
  readonly attempts: number
  readonly timeline: ReadonlyArray<Step>
}

const time = (ms: number): string =>
  ms < 1000 ? `${ms} ms` : ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`

const slowWords: Readonly<Record<string, string>> = {
  long: "It goes on for long",
  stalled: "It makes no progress",
  stuck: "It is stuck and begins again"
}

const isBad = (status: string | undefined) => status !== undefined && status !== "ok" && status !== "sent"
const words = ({ step, name, status }: Step): string => {
  const how = isBad(status) ? `: ${status}` : ""
  switch (step) {
    case "accepted":
      return "Accepted and stored"
    case "run_started":
      return "Run began"
    case "model":
      return `Model answered${how}`
    case "tool":
      return `Tool ${name ?? ""}${how}`
    case "slow":
      return slowWords[status ?? ""] ?? "It is slow"
    case "run_ended":
      return "Run ended"
    case "sent":
      return `Delivered to ${name ?? "its channel"}${how}`
  }
}
/** At least cents, and two digits of a small amount. */
const money = (micros: number): string => {
  const dollars = micros / 1_000_000
  const digits =
    dollars >= 1 || micros === 0 ? 2 : Math.min(6, Math.max(2, 1 - Math.floor(Math.log10(dollars))))
  return `$${dollars.toFixed(digits)}`
}
const tokensOf = ({ tokens, cost_usd_micros: micros }: Step): string => {
  const counts =
    tokens === undefined ? "" : `${tokens.estimated ? "about " : ""}${tokens.input} in, ${tokens.output} out`
  return micros === undefined ? counts : `${counts}, ${money(micros)}`
}
/** What the message's run took in all. Money is told when that of every call is known. */
const totalOf = ({ timeline }: Status): string | undefined => {
  const calls = timeline.filter(({ tokens }) => tokens !== undefined)
  if (calls.length < 2) return undefined
  const sum = (of: (step: Step) => number) => calls.reduce((all, step) => all + of(step), 0)
  const tokens = {
    input: sum((step) => step.tokens?.input ?? 0),
    output: sum((step) => step.tokens?.output ?? 0),
    estimated: calls.some((step) => step.tokens?.estimated === true)
  }
  const isPriced = calls.every((step) => step.cost_usd_micros !== undefined)
  const cost = isPriced ? { cost_usd_micros: sum((step) => step.cost_usd_micros ?? 0) } : {}
  return tokensOf({ step: "model", ms: 0, tokens, ...cost })
}

const stateWords = { queued: "Queued: it waits for the message before it", running: "Being answered" }
const summary = ({ state, outcome, by, failure, attempts }: Status): string => {
  const how = outcome === "steered" || outcome === "merged" ? "into" : "by"
  const end = `${outcome ?? "ended"}${by === undefined ? "" : ` ${how} ${by}`}`
  const what = state === "ended" ? end.charAt(0).toUpperCase() + end.slice(1) : stateWords[state]
  const why = failure === undefined ? "" : `: ${failure.message}`
  return `${what}${why}${attempts > 1 ? `, attempt ${attempts}` : ""}`
}

const useStatus = (session: string, line: UserLine, stage: string): Status | string => {
  const [status, setStatus] = useState<Status | string>("Asking …")
  useEffect(() => {
    let isWanted = true
    const ask = async () => {
      const id =
        line.messageId ?? (line.seq === undefined ? undefined : await findMessageId(session, line.seq))
      const path = id === undefined ? undefined : `/api/v1/os/messages/${encodeURIComponent(id)}`
      const found = path === undefined ? undefined : await getJson(path)
      if (isWanted) setStatus((found as Status | undefined) ?? "The gateway does not know this message.")
    }
    ask().catch(() => isWanted && setStatus("The gateway could not be asked just now."))
    return () => {
      isWanted = false
    }
  }, [session, line.messageId, line.seq, stage])
  return status
}

export const Timeline = ({ session, line, stage }: { session: string; line: UserLine; stage: string }) => {
  const status = useStatus(session, line, stage)
  if (typeof status === "string") return <p class="timeline">{status}</p>
  return (
    <div class="timeline">
      <p>{summary(status)}</p>
      <table>
        <thead class="unseen">
          <tr>
            <th scope="col">After</th>
            <th scope="col">What</th>
            <th scope="col">Tokens and money</th>
          </tr>
        </thead>
        <tbody>
          {status.timeline.map((step, index) => (
            <tr key={index} class={isBad(step.status) ? "bad" : undefined}>
              <td class="ms">{time(step.ms)}</td>
              <td>{words(step)}</td>
              <td class="tokens">{tokensOf(step)}</td>
            </tr>
          ))}
        </tbody>
        {totalOf(status) === undefined ? undefined : (
          <tfoot>
            <tr>
              <td class="ms" />
              <td>In all</td>
              <td class="tokens">{totalOf(status)}</td>
            </tr>
          </tfoot>
        )}
      </table>
      <p class="id">{status.id}</p>
    </div>
  )
}
