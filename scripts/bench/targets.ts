/**
 * What is to be reached, row by row, and what others reached.
 *
 * The peer's figures were measured once with the same load generator and provider; `--peer openclaw` measures them afresh.
 */
export interface Target {
  readonly what: string
  readonly unit: "s" | "ms" | "ms CPU" | "us CPU" | "cores" | "msg/s" | "MB" | "KB" | "x"
  readonly must?: number
  readonly aim?: number
  /** OpenClaw 2026.9.6, stored. */
  readonly openclaw?: string
  /** A thin slice of our design, without tools, scoping and metrics. */
  readonly slice?: string
}

const seconds = { unit: "s" } as const
const millis = { unit: "ms" } as const
const cpu = { unit: "ms CPU" } as const
const rate = { unit: "msg/s" } as const
const megabytes = { unit: "MB" } as const

export const targets = {
  cold_source: {
    ...seconds,
    what: "spawn to first answer, source",
    must: 1.2,
    aim: 0.8,
    openclaw: "17-24",
    slice: "0.57"
  },
  cold_source_cached: {
    ...seconds,
    what: "the same, compile cache on",
    must: 1.2,
    aim: 0.8,
    openclaw: "17-24",
    slice: "0.47"
  },
  cold_bundle: {
    ...seconds,
    what: "spawn to first answer, bundle",
    must: 0.5,
    aim: 0.3,
    openclaw: "17-24",
    slice: "0.25"
  },
  cold_bundle_cached: {
    ...seconds,
    what: "the same, compile cache on",
    must: 0.5,
    aim: 0.3,
    openclaw: "17-24",
    slice: "0.2"
  },
  warm_p50: { ...millis, what: "warm message, durable, p50", must: 6, aim: 3, openclaw: "243", slice: "1.5" },
  warm_p95: {
    ...millis,
    what: "warm message, durable, p95",
    must: 15,
    aim: 7,
    openclaw: "268",
    slice: "2.6"
  },
  first_content: {
    ...millis,
    what: "first streamed content, p50",
    must: 5,
    aim: 2.5,
    openclaw: "231",
    slice: "1.4"
  },
  cpu_1: {
    ...cpu,
    what: "CPU per message, 1 session",
    must: 4,
    aim: 2,
    openclaw: "249-304",
    slice: "1.4"
  },
  cpu_1_stream: {
    ...cpu,
    what: "CPU per message, 1 session, stream",
    must: 4,
    aim: 2,
    openclaw: "249-304",
    slice: "1.7"
  },
  cpu_64: {
    ...cpu,
    what: "CPU per message, 64 sessions",
    must: 2.5,
    aim: 1.2,
    openclaw: "362-467",
    slice: "0.6"
  },
  cpu_64_stream: {
    ...cpu,
    what: "CPU per message, 64 sessions, stream",
    must: 2.5,
    aim: 1.2,
    openclaw: "362-467",
    slice: "0.8"
  },
  rate_1: {
    ...rate,
    what: "messages per second, 1 session",
    must: 150,
    aim: 300,
    openclaw: "4.1",
    slice: "555"
  },
  rate_64: {
    ...rate,
    what: "messages per second, 64 sessions",
    must: 350,
    aim: 800,
    openclaw: "2.5",
    slice: "1661"
  },
  rate_64_stream: {
    ...rate,
    what: "messages per second, 64 sessions, stream",
    must: 350,
    aim: 800,
    openclaw: "2.5",
    slice: "1255"
  },
  burst_200: {
    ...seconds,
    what: "200 ms provider, 200 sessions at once, wall",
    must: 1,
    aim: 0.6,
    openclaw: "81",
    slice: "0.4"
  },
  rss_idle_source: {
    ...megabytes,
    what: "RSS idle, source",
    must: 160,
    aim: 135,
    openclaw: "1000",
    slice: "130"
  },
  rss_idle_bundle: {
    ...megabytes,
    what: "RSS idle, bundle",
    must: 120,
    aim: 95,
    openclaw: "1000",
    slice: "83"
  },
  rss_loaded: {
    ...megabytes,
    what: "RSS after 10,000 messages, 1,000 sessions, bundle",
    must: 260,
    aim: 190,
    openclaw: "1400-2100",
    slice: "179"
  },
  long_session: {
    unit: "x",
    what: "turn 2,000 of a session against turn 10",
    must: 1.3,
    aim: 1.05,
    slice: "1"
  },
  loop_delay: {
    ...millis,
    what: "event-loop delay p99 at half load",
    must: 20,
    aim: 10,
    openclaw: "seconds reported"
  },
  typing: {
    ...millis,
    what: "typing shown after, p50",
    must: 50,
    aim: 20,
    openclaw: "seconds reported"
  },
  stream_first_added: {
    ...millis,
    what: "added time to first token, p50",
    must: 5,
    aim: 2.5,
    openclaw: "231 in all",
    slice: "1"
  },
  stream_cpu_token: { unit: "us CPU", what: "CPU per streamed token" },
  stream_1000_first: { ...millis, what: "first token of 1,000 slow streams begun at once, p95" },
  stream_1000_memory: { unit: "KB", what: "memory per stream, 1,000 slow streams at once" },
  stream_1000_cpu: { unit: "cores", what: "CPU while 1,000 slow streams go" },
  restart_open: { ...seconds, what: "restart with 10,000 open rows to their first answer", must: 2, aim: 1 },
  restart_new: { ...seconds, what: "the same, to the answer of a new message", must: 2, aim: 1 }
} as const satisfies Readonly<Record<string, Target>>

export type RowId = keyof typeof targets

/** Rows that something else answers. */
export const coveredByTests: Readonly<Record<string, string>> = {
  "kill -9 at any moment: acknowledged messages lost / answered twice": "test/scenarios/Crash.test.ts",
  "lane engine, bytes per idle lane": "npm run bench -- lanes: docs/lanes.md",
  "takeover after kill -9 of a node": "npm run test:long -- test/long/nodes.test.ts"
}
