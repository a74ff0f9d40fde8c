/**
 * Tool names as providers accept them, and back.
 *
 * Owns: the spelling on the wire, `^[a-zA-Z0-9_-]{1,64}$`. A name's spelling depends on that name alone, so it is the
 * same in every turn; the mapping of one request is one to one.
 */

export interface ToolNames {
  readonly toWire: (name: string) => string
  /** The real name of a call; a name that was never shown to the model comes back as it is. */
  readonly fromWire: (wire: string) => string
}

/** The names of one request: those of the offered tools first, then those of past calls. */
export const toolNames = (names: Iterable<string>): ToolNames => {
  const wires = new Map<string, string>()
  const reals = new Map<string, string>()
  const toWire = (name: string): string => {
    const known = wires.get(name)
    if (known !== undefined) return known
    const preferred = wireName(name)
    let wire = preferred
    // Only names made to collide with a 64-bit digest ever come here; even they stay apart within a request.
    for (let n = 2; reals.has(wire); n++) wire = `${preferred.slice(0, 56)}_${n}`
    wires.set(name, wire)
    reals.set(wire, name)
    return wire
  }
  for (const name of names) toWire(name)
  return { toWire, fromWire: (wire) => reals.get(wire) ?? wire }
}

const accepted = /^[a-zA-Z0-9_-]{1,64}$/
const dotted = /^[a-zA-Z0-9-]+(?:_[a-zA-Z0-9-]+)*(?:\.[a-zA-Z0-9-]+(?:_[a-zA-Z0-9-]+)*)+$/
const digested = /__x[0-9a-f]{16}$/

/**
 * An accepted name without `__` stays; in `room.verb` a dot becomes `__`; any other name is cleaned and carries a
 * digest of itself. The three never meet.
 */
export const wireName = (name: string): string => {
  if (accepted.test(name) && !name.includes("__")) return name
  if (dotted.test(name)) {
    const wire = name.replaceAll(".", "__")
    if (wire.length <= 64 && !digested.test(wire)) return wire
  }
  const cleaned = name.slice(0, 44).replace(/[^a-zA-Z0-9_-]/g, "_")
  return `${cleaned}__x${digest(name)}`
}

/** FNV-1a over the UTF-16 units, 64 bits, 16 hex digits. */
const digest = (text: string): string => {
  let hash = 0xcbf29ce484222325n
  for (let i = 0; i < text.length; i++) {
    hash = ((hash ^ BigInt(text.charCodeAt(i))) * 0x100000001b3n) & 0xffffffffffffffffn
  }
  return hash.toString(16).padStart(16, "0")
}
