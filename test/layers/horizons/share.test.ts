/** Who takes and who gives which buckets, for any number of nodes that come and go. */
import { assert, describe, it } from "@effect/vitest"
import { bucketCount, bucketOf } from "#src/domain/Bucket.ts"
import { goneMillis, leaseMillis, type SeenBucket, type SeenNode, shareOf } from "#layers/horizons/share.ts"

const node = (id: string, more: Partial<SeenNode> = {}): SeenNode => ({
  id,
  leaving: false,
  ageMillis: 100,
  connected: true,
  ...more
})
const buckets = (ownerOf: (bucket: number) => string | null): ReadonlyArray<SeenBucket> =>
  Array.from({ length: bucketCount }, (_, bucket) => ({ bucket, epoch: 1, node: ownerOf(bucket) }))
const ownedBy = (all: ReadonlyArray<SeenBucket>, id: string) =>
  new Set(all.filter((row) => row.node === id).map(({ bucket }) => bucket))

/** What comes of it when each of these nodes looks in turn until none wants anything. */
const settled = (nodes: ReadonlyArray<SeenNode>, start: ReadonlyArray<SeenBucket>) => {
  let all = start
  for (let round = 0; round < 20; round++) {
    const before = all
    for (const { id } of nodes.filter(({ ageMillis }) => ageMillis < leaseMillis)) {
      const { take, surplus } = shareOf(id, ownedBy(all, id), nodes, all)
      const given = new Set([...ownedBy(all, id)].slice(0, surplus))
      const taken = new Set(take.map(({ bucket }) => bucket))
      all = all.map((row) =>
        given.has(row.bucket) ? { ...row, node: null } : taken.has(row.bucket) ? { ...row, node: id } : row
      )
    }
    if (before === all) break
  }
  return all
}
const counts = (all: ReadonlyArray<SeenBucket>, nodes: ReadonlyArray<SeenNode>) =>
  nodes.map(({ id }) => ownedBy(all, id).size)

describe("the share of each node", () => {
  it("is even, whoever comes, and all buckets are had", () => {
    for (const size of [1, 2, 3, 5, 8]) {
      const nodes = Array.from({ length: size }, (_, n) => node(`n${n}`))
      const all = settled(
        nodes,
        buckets(() => "n0")
      )
      const each = counts(all, nodes)
      assert.strictEqual(
        each.reduce((sum, count) => sum + count, 0),
        bucketCount
      )
      assert.isAtMost(Math.max(...each), Math.ceil(bucketCount / size))
    }
  })

  it("of a node that is gone goes to the others: soon when its process died, after the lease when it only is silent", () => {
    const all = buckets((bucket) => (bucket % 2 === 0 ? "a" : "b"))
    const seen = (more: Partial<SeenNode>) =>
      shareOf("b", ownedBy(all, "b"), [node("a", more), node("b")], all)

    assert.deepStrictEqual(seen({ ageMillis: goneMillis, connected: false }).take, [])
    assert.deepStrictEqual(seen({ ageMillis: leaseMillis }).take, [])
    assert.lengthOf(seen({ ageMillis: goneMillis + 1, connected: false }).take, 128)
    assert.deepStrictEqual(seen({ ageMillis: leaseMillis + 1 }).gone, ["a"])
    assert.lengthOf(seen({ ageMillis: leaseMillis + 1 }).take, 128)
  })

  it("of a node that leaves is none, and it takes nothing back", () => {
    const nodes = [node("a", { leaving: true }), node("b")]
    const all = buckets((bucket) => (bucket < 100 ? "a" : bucket < 200 ? "b" : null))
    const left = shareOf("a", ownedBy(all, "a"), nodes, all)

    assert.deepStrictEqual([left.take.length, left.surplus], [0, 100])
    assert.lengthOf(shareOf("b", ownedBy(all, "b"), nodes, all).take, 56)
  })

  it("holds what only the table says is ours for free: nobody knows what became of it meanwhile", () => {
    const all = buckets(() => "a")
    const { take } = shareOf("a", new Set([0, 1]), [node("a")], all)

    assert.lengthOf(take, 254)
  })
})

describe("the bucket of a session", () => {
  it("stays the same for ever, and names that are alike are spread", () => {
    assert.deepStrictEqual(
      ["agent:main:main", "agent:main:webchat:dm:ann", "purge", "agent:main:ünï"].map(bucketOf),
      [111, 11, 225, 126]
    )
    const seen = Array.from({ length: bucketCount }, () => 0)
    for (let n = 0; n < 25_600; n++) seen[bucketOf(`agent:main:user:${n}`)]!++
    assert.isAbove(Math.min(...seen), 50)
    assert.isBelow(Math.max(...seen), 180)
  })
})
