/** How much each measurement does: enough for a figure, or enough to see that all of it runs. */
export interface Sizes {
  readonly coldStarts: number
  readonly rounds: number
  readonly messages1: number
  readonly warmup1: number
  /** Per session, at 64 sessions. */
  readonly messages64: number
  readonly settleMs: number
  readonly typings: number
  readonly paceSeconds: number
  readonly loadedSessions: number
  readonly longTurns: number
  readonly longRounds: number
  readonly openRows: number
}

export const full: Sizes = {
  coldStarts: 5,
  rounds: 5,
  messages1: 400,
  warmup1: 200,
  messages64: 40,
  settleMs: 3000,
  typings: 200,
  paceSeconds: 15,
  loadedSessions: 1000,
  longTurns: 2000,
  longRounds: 20,
  openRows: 10_000
}

export const quick: Sizes = {
  coldStarts: 2,
  rounds: 2,
  messages1: 100,
  warmup1: 50,
  messages64: 6,
  settleMs: 1000,
  typings: 20,
  paceSeconds: 3,
  loadedSessions: 100,
  longTurns: 200,
  longRounds: 4,
  openRows: 1000
}
