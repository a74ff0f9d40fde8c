/** What the gateway is doing now, session by session, with what can be done about it. For admins. */
import { useState } from "preact/hooks"
import { control, type Lane, type LaneAction, since, useClock, useLanes } from "./lanes.ts"
import { nameOf } from "./sessions.ts"
import { onPlainClick } from "./Sidebar.tsx"
import type { Me } from "./state.ts"

type Ask = (action: LaneAction, key?: string) => Promise<void>

const stallWords = { long: "takes long", stalled: "makes no progress", stuck: "stuck, begins again" }
const phaseWords = { idle: "Idle", running: "Running", parked: "Waits for a decision", waiting: "Waits" }

const troubles = ({ run, fenced }: Lane): string =>
  [
    run?.stall === undefined ? "" : stallWords[run.stall],
    fenced === 0 ? "" : `${fenced} told to stop and still running`
  ]
    .filter(Boolean)
    .join(", ")

const Row = ({
  lane,
  now,
  isBusy,
  ask,
  onOpen
}: {
  lane: Lane
  now: number
  isBusy: boolean
  ask: Ask
  onOpen: (name: string) => void
}) => {
  const name = nameOf(lane.session_key)
  const { run } = lane
  const trouble = troubles(lane)
  const button = (words: string, action: LaneAction) => (
    <button
      type="button"
      class={action === "stop" ? "stop" : "quiet"}
      aria-label={`${words} ${name}`}
      disabled={isBusy}
      onClick={() => void ask(action, lane.session_key)}
    >
      {words}
    </button>
  )
  return (
    <tr role="row">
      <th scope="row" role="rowheader">
        <a href={`?session=${encodeURIComponent(name)}`} onClick={onPlainClick(() => onOpen(name))}>
          {name}
        </a>
      </th>
      <td role="cell">
        {phaseWords[lane.phase]}
        {lane.paused && " (paused)"}
        {lane.elsewhere && " on another node"}
        {trouble !== "" && <span class="bad"> {trouble}</span>}
      </td>
      <td role="cell" class="number" data-name="Waiting">
        {lane.depth}
      </td>
      <td role="cell" class="number" data-name="Oldest">
        {since(lane.oldest_at, now)}
      </td>
      <td role="cell" class="number" data-name="Runs for">
        {since(run?.began_at, now)}
      </td>
      <td role="cell" data-name="Step">
        {run !== undefined &&
          [`${run.step}`, ...run.tools, ...(run.attempt > 1 ? [`attempt ${run.attempt}`] : [])].join(", ")}
      </td>
      <td role="cell">
        <div class="asks">
          {button("Stop", "stop")}
          {lane.phase !== "idle" && button("Abort", "abort")}
          {lane.paused ? button("Resume", "resume") : button("Pause", "pause")}
        </div>
      </td>
    </tr>
  )
}

const columns = ["Session", "State", "Waiting", "Oldest", "Runs for", "Step", "What to do"]

const Lanes = ({ onOpen }: { onOpen: (name: string) => void }) => {
  const told = useLanes()
  const now = useClock(told !== undefined && told.lanes.length > 0)
  const [problem, setProblem] = useState<string>()
  const [isBusy, setBusy] = useState(false)
  const ask: Ask = async (action, key) => {
    setBusy(true)
    setProblem(await control(action, key))
    setBusy(false)
  }
  if (told === undefined) return <p role="status">Asking the gateway …</p>
  const more = told.total - told.lanes.length
  return (
    <>
      <div class="all">
        <span role="status">
          {told.paused
            ? "Everything is paused: messages are kept, and nothing is answered."
            : told.total === 0
              ? "No session is at work."
              : `${told.total} at work or paused`}
        </span>
        <button
          type="button"
          class={told.paused ? "" : "quiet"}
          disabled={isBusy}
          onClick={() => void ask(told.paused ? "resume" : "pause")}
        >
          {told.paused ? "Resume all" : "Pause all"}
        </button>
        {problem !== undefined && (
          <span role="alert" class="bad">
            {problem}
          </span>
        )}
      </div>
      {told.lanes.length > 0 && (
        <table role="table" aria-label="Sessions at work">
          <thead role="rowgroup">
            <tr role="row">
              {columns.map((name) => (
                <th key={name} scope="col" role="columnheader">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody role="rowgroup">
            {told.lanes.map((lane) => (
              <Row key={lane.session_key} lane={lane} now={now} isBusy={isBusy} ask={ask} onOpen={onOpen} />
            ))}
          </tbody>
        </table>
      )}
      {more > 0 && <p>and {more} more, with newer messages.</p>}
    </>
  )
}

export const Activity = ({ me, onOpen }: { me: Me; onOpen: (name: string) => void }) => (
  <section class="activity" aria-label="Activity">
    {me.principal.admin ? <Lanes onOpen={onOpen} /> : <p role="alert">Only admins see what others do.</p>}
  </section>
)
