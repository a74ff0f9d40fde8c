/** How the log's writer is changed for a comparison. */
export const variants = {
  "as it ships": "group commit, fdatasync off the thread",
  "one unit a commit": "no group: a unit waits until the one before it is on the disk",
  "sync on the loop": "group commit, but the loop waits for the disk",
  "no sync": "group commit, nothing is durable: what the rest costs"
} as const

export type Variant = keyof typeof variants
