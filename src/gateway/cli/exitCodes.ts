/** What a supervisor and a script can rely on; documented in docs/cli.md. */
export const exitCodes = {
  /** Done; for `serve`: stopped by a signal. */
  ok: 0,
  /** A bug of ours. */
  internal: 1,
  /** The answer is no: a check failed, a message was not answered, there is no such session. */
  negative: 2,
  usage: 64,
  /** The port is in use; for a client: no gateway runs, or it does not answer. */
  unavailable: 69,
  /** This machine cannot run it: Node is too old. */
  machine: 71,
  /** The data directory, its key file or a file to be written cannot be used. */
  dataDir: 73,
  store: 74,
  locked: 75,
  /** The gateway refused the token, or a key that may not do this. */
  refused: 77,
  config: 78
} as const

/** One line each, for the documentation. */
export const meanings: Readonly<Record<keyof typeof exitCodes, string>> = {
  ok: "done; `serve` was stopped by a signal",
  internal: "a bug; the log has it",
  negative:
    "the answer is no: a check failed, a message was not answered, there is no such session or message",
  usage: "wrong arguments",
  unavailable:
    "`serve`: the port is in use or cannot be listened on, or the database cannot be reached; others: no gateway runs, or it does not answer",
  machine: "this machine cannot run it: Node is older than 24",
  dataDir: "the data directory, its key file, or a file to be written cannot be used",
  store:
    "the store cannot be used or trusted (failed sync, newer schema, an unfit database): mend it, then start again",
  locked: "another process holds the data directory",
  refused: "the gateway refused the token, or a key that may not do this",
  config: "the configuration is wrong, all problems are listed; or secrets.key_command gave no key"
}
