/** Rows of `session-keys`. */
import * as SessionKey from "#src/domain/SessionKey.ts"
import { compare, type Row } from "./Row.ts"

export const topic = "session-keys"

type Input =
  | ({ readonly op: "peerKey" } & SessionKey.Peer)
  | ({ readonly op: "threadKeys" } & Parameters<typeof SessionKey.threadKeys>[0])
  | ({ readonly op: "toStoreKey" } & Parameters<typeof SessionKey.toStoreKey>[0])
  | { readonly op: "agentIdFromKey"; readonly sessionKey: string | null }
  | { readonly op: "normalizeAgentId"; readonly value: string | null }

const answer = (input: Input): unknown => {
  switch (input.op) {
    case "peerKey":
      return SessionKey.peerKey(input)
    case "threadKeys":
      return SessionKey.threadKeys(input)
    case "toStoreKey":
      return SessionKey.toStoreKey(input)
    case "agentIdFromKey":
      return SessionKey.agentIdFromKey(input.sessionKey)
    case "normalizeAgentId":
      return SessionKey.normalizeAgentId(input.value)
  }
}

export const run = async (row: Row<Input>) => compare(answer(row.input), row.expected)
