/** Calls that wait for a person's decision, each with what it would do. The first decision counts, wherever it is given. */
import { useState } from "preact/hooks"
import { postJson } from "./client.ts"
import type { Approval } from "./state.ts"

const Question = ({ approval }: { approval: Approval }) => {
  const [problem, setProblem] = useState<string>()
  const [isBusy, setBusy] = useState(false)
  const decide = async (decision: "approve" | "deny") => {
    setBusy(true)
    setProblem(await postJson(`/api/v1/os/approvals/${encodeURIComponent(approval.id)}`, { decision }))
    setBusy(false)
  }
  return (
    <li>
      <p>
        May I use <strong>{approval.tool}</strong>?
      </p>
      {approval.arguments !== "" && approval.arguments !== "{}" && (
        <pre>
          <code>{approval.arguments}</code>
        </pre>
      )}
      <footer>
        <button type="button" disabled={isBusy} onClick={() => void decide("approve")}>
          Approve
        </button>
        <button type="button" class="quiet" disabled={isBusy} onClick={() => void decide("deny")}>
          Deny
        </button>
        {problem !== undefined && <span role="alert">{problem}</span>}
      </footer>
    </li>
  )
}

export const Approvals = ({ approvals }: { approvals: ReadonlyArray<Approval> }) =>
  approvals.length === 0 ? null : (
    <section class="approvals" role="region" aria-label="Waiting for your decision" aria-live="assertive">
      <ul>
        {approvals.map((approval) => (
          <Question key={approval.id} approval={approval} />
        ))}
      </ul>
    </section>
  )
