/**
 * What npm has to install for a command: nothing, what running from source needs, or everything.
 *
 * Owns: that decision. Does not own: installing (`house.mjs`), and which command needs which (`run.mjs`).
 */

/**
 * `need` is "source" (the workspace `scripts/source`) or "all". `stamp` tells of our last install: the hash of its lock file and
 * which of the two it was. `unstamped` says that npm has installed something here that no stamp tells of.
 *
 * Gives which of the two the checkout is to have, and whether it has it.
 */
export const installFor = ({ need, lock, stamp, unstamped }) => {
  // Stamps were written before there were two kinds, and whoever runs npm by hand means all of it.
  const had = stamp === undefined ? (unstamped ? "all" : undefined) : (stamp.installed ?? "all")
  // Who has the developers' tools keeps them: `npm start` after a `git pull` takes nothing away.
  const wanted = need === "all" || had === "all" ? "all" : "source"
  return { wanted, present: stamp?.lock === lock && had === wanted }
}
