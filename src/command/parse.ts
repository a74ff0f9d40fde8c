/** How a command is written: `/name`, at the beginning of a message, in upper or lower case. */

export interface Written {
  /** Lower-case, without the slash. */
  readonly name: string
  /** What stands behind the name, and behind a colon after it. */
  readonly rest: string
}

const command = /^\s*\/([a-z][a-z0-9_-]{0,31})(?=$|[\s:])\s*:?\s*/i

/** The command that a message begins with; undefined when it begins with none. Whether it exists is the registry's business. */
export const parse = (text: string): Written | undefined => {
  const match = command.exec(text)
  if (match === null) return undefined
  return { name: (match[1] ?? "").toLowerCase(), rest: text.slice(match[0].length).trimEnd() }
}
