/**
 * Who takes and who gives which buckets: decided from what all nodes see, without asking each other.
 *
 * Owns: the fair share, and when a node counts as gone. Does not own: asking the database (`PgPlacement`).
 */
import { bucketCount } from "#src/domain/Bucket.ts"

export interface SeenNode {
  readonly id: string
  readonly leaving: boolean
  /** How long ago it was seen, by the server's clock, of the time that the server was up. */
  readonly ageMillis: number
  /** It has a session at the server. */
  readonly connected: boolean
}
export interface SeenBucket {
  readonly bucket: number
  readonly epoch: number
  readonly node: string | null
}

export interface Share {
  readonly gone: ReadonlyArray<string>
  readonly take: ReadonlyArray<SeenBucket>
  /** How many of ours are more than our share. */
  readonly surplus: number
}

/** A node that was not seen for so long has lost its buckets. */
export const leaseMillis = 3000
/** The same for one that has no session any more, as after its process died. */
export const goneMillis = 1200

const isGone = ({ ageMillis, connected }: SeenNode): boolean =>
  ageMillis > (connected ? leaseMillis : goneMillis)

/** `owned`: what this node has and knows that it has; a bucket that only the table says is ours is to be taken anew. */
export const shareOf = (
  me: string,
  owned: ReadonlySet<number>,
  nodes: ReadonlyArray<SeenNode>,
  buckets: ReadonlyArray<SeenBucket>
): Share => {
  const others = nodes.filter(({ id }) => id !== me)
  const gone = others.filter(isGone).map(({ id }) => id)
  const present = new Set(others.filter((node) => !isGone(node)).map(({ id }) => id))
  const sharing = others.filter((node) => !isGone(node) && !node.leaving).length
  const isLeaving = nodes.some(({ id, leaving }) => id === me && leaving)
  const quota = isLeaving ? 0 : Math.ceil(bucketCount / (sharing + 1))
  const free = buckets.filter(({ bucket, node }) =>
    node === me ? !owned.has(bucket) : node === null || !present.has(node)
  )
  const wanted = Math.max(0, quota - owned.size)
  return { gone, take: free.slice(0, wanted), surplus: Math.max(0, owned.size - quota) }
}
