/** Accepted messages, for tests of the lane's pure parts. */
import { messageId } from "#src/domain/Ids.ts"
import type { SessionKey } from "#src/domain/SessionKey.ts"
import { local } from "#src/domain/Tenant.ts"
import type { MessageRow } from "#src/horizons/MessageLog.ts"

const session = "agent:main:main" as SessionKey

interface Given extends Partial<Omit<MessageRow, "identity" | "body" | "seq" | "id">> {
  readonly text?: string
  readonly body?: Partial<MessageRow["body"]>
  readonly route?: Partial<MessageRow["identity"]>
}

/** The message of this seq, by ada, the owner, in one conversation, unless something else is given. */
export const rowOf = (seq: number, { text, body, route, ...rest }: Given = {}): MessageRow => ({
  id: messageId(`msg_${seq}`),
  place: { tenant: local, agent: "main", session },
  seq,
  identity: {
    channel: "test",
    account: "a",
    conversation: "c",
    thread: "",
    externalId: `c${seq}`,
    revision: 1,
    ...route
  },
  sender: "ada",
  access: "owner",
  ephemeral: false,
  body: { text: text ?? `text ${seq}`, ...body },
  acceptedAt: 0,
  runId: undefined,
  outcome: undefined,
  outcomeBy: undefined,
  endedAt: undefined,
  ...rest
})
