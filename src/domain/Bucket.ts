/**
 * Where a session's lane lives when there are several nodes: its bucket, and the fence its owner writes under.
 *
 * Pure vocabulary. Sessions never move to another bucket; buckets move between nodes.
 */

/** Few enough to be told in one breath, many enough to be shared evenly by a handful of nodes. */
export const bucketCount = 256

/** The bucket of a session, or of any other name; the same in every process and version. */
export const bucketOf = (name: string): number => {
  // FNV-1a over UTF-16 units.
  let hash = 0x811c9dc5
  for (let at = 0; at < name.length; at++) {
    const unit = name.charCodeAt(at)
    hash = Math.imul(hash ^ (unit & 0xff), 0x01000193)
    hash = Math.imul(hash ^ (unit >>> 8), 0x01000193)
  }
  // The low bits of names that differ in their last character only are alike; the high ones are not.
  return ((hash >>> 24) ^ (hash >>> 16) ^ (hash >>> 8) ^ hash) & (bucketCount - 1)
}

/** The epoch of a bucket rises each time that it gets another owner; what is written under an earlier one is refused. */
export interface Fence {
  readonly bucket: number
  readonly epoch: number
}
