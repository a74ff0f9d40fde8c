/** A message's trace as people read it: when it was accepted, waited, was thought about, and left. Pure. */
import { nameOf } from "#src/domain/SessionKey.ts"
import type { Usage } from "#src/domain/Usage.ts"
import type { MessageTrace } from "#src/horizons/MessageLog.ts"
import type { MessageStatus, Step } from "./apiSchemas.ts"

type TimelineStep = typeof Step.Type

export const statusOf = (trace: MessageTrace): typeof MessageStatus.Type => {
  const { message, run } = trace
  const ended = message.outcome !== undefined
  const dropped = trace.entries.flatMap(({ entry }) => (entry.kind === "note" ? entry.dropped : []))
  return {
    id: message.id,
    session_key: nameOf(message.place.session),
    seq: message.seq,
    client_id: message.identity.externalId,
    state: ended ? "ended" : run === undefined ? "queued" : "running",
    ...(message.outcome === undefined ? {} : { outcome: message.outcome }),
    ...(message.outcomeBy === undefined ? {} : { by: message.outcomeBy }),
    ...(run?.failure === undefined ? {} : { failure: run.failure }),
    attempts: run?.attempt ?? 0,
    ...((run?.messageIds.length ?? 0) > 1 ? { queue_collected_messages: run?.messageIds ?? [] } : {}),
    ...(dropped.length > 0 ? { queue_dropped_messages: dropped } : {}),
    timeline: stepsOf(trace)
  }
}

const costOf = ({ inputTokens: input, outputTokens: output, estimated, costMicros }: Usage) => ({
  tokens: { input, output, estimated },
  ...(costMicros === undefined ? {} : { cost_usd_micros: costMicros })
})

const stepsOf = ({ message, run, entries, deliveries }: MessageTrace): ReadonlyArray<TimelineStep> => {
  const step = (name: TimelineStep["step"], at: number, more: Partial<TimelineStep> = {}): TimelineStep => ({
    step: name,
    at,
    ms: at - message.acceptedAt,
    ...more
  })
  const steps = [step("accepted", message.acceptedAt)]
  if (run !== undefined) steps.push(step("run_started", run.startedAt))
  for (const { entry, usage, at } of entries) {
    if (entry.kind === "notice" && entry.slow !== undefined)
      steps.push(step("slow", at, { status: entry.slow }))
    if (entry.kind === "tool") steps.push(step("tool", at, { name: entry.name, status: entry.status }))
    if (entry.kind === "assistant") {
      const used = usage === undefined || usage.inputTokens + usage.outputTokens === 0 ? {} : costOf(usage)
      steps.push(step("model", at, { status: entry.partial ?? "ok", ...used }))
    }
  }
  if (run?.endedAt !== undefined) steps.push(step("run_ended", run.endedAt))
  for (const { route, state, sentAt } of deliveries) {
    if (sentAt !== undefined) steps.push(step("sent", sentAt, { name: route.channel, status: state }))
  }
  return steps
}
