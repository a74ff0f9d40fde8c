/**
 * Which hosts a request may be addressed to and which pages a browser may come from.
 *
 * Pure. It stops DNS rebinding (a foreign name that resolves to us) and foreign pages that use a visitor's browser.
 */
export interface GuardPolicy {
  readonly bind: "loopback" | "lan"
  readonly allowedHosts: ReadonlyArray<string>
}

const loopbackNames = new Set(["localhost", "127.0.0.1", "[::1]"])

// Host header or allowed_hosts item to its parts; undefined when it is no authority.
const parse = (authority: string): { readonly name: string; readonly port: string } | undefined => {
  const match = /^(\[[0-9a-f:.]+\]|[^:/?#@\s[\]]+)(?::([0-9]{1,5}))?$/i.exec(authority.trim())
  return match === null ? undefined : { name: match[1]!.toLowerCase(), port: match[2] ?? "" }
}

// An address cannot be rebound by DNS, so on a LAN every literal address is ours.
const isAddress = (name: string): boolean =>
  name.startsWith("[") || /^[0-9]{1,3}(?:\.[0-9]{1,3}){3}$/.test(name)

const isListed = (name: string, port: string, policy: GuardPolicy): boolean =>
  policy.allowedHosts.some((item) => {
    const allowed = parse(item)
    return allowed !== undefined && allowed.name === name && (allowed.port === "" || allowed.port === port)
  })

/** May a request be addressed to this `Host`? */
export const allowsHost = (host: string | undefined, policy: GuardPolicy): boolean => {
  const parsed = host === undefined ? undefined : parse(host)
  if (parsed === undefined) return false
  if (loopbackNames.has(parsed.name)) return true
  if (policy.bind === "lan" && isAddress(parsed.name)) return true
  return isListed(parsed.name, parsed.port, policy)
}

/** Is the page behind `origin` our own (the very host it is addressed to, or another name of this machine with its port)? */
export const isSameOrigin = (origin: string, host: string): boolean => {
  const from = /^https?:\/\/(.+)$/i.exec(origin)?.[1]
  const source = from === undefined ? undefined : parse(from)
  const target = parse(host)
  if (source === undefined || target === undefined || source.port !== target.port) return false
  return source.name === target.name || (loopbackNames.has(source.name) && loopbackNames.has(target.name))
}

/** May this page send requests? Clients that are no browsers send no Origin, which is fine. */
export const allowsOrigin = (origin: string | undefined, host: string, policy: GuardPolicy): boolean => {
  if (origin === undefined || isSameOrigin(origin, host)) return true
  const from = /^https?:\/\/(.+)$/i.exec(origin)?.[1]
  const source = from === undefined ? undefined : parse(from)
  return source !== undefined && isListed(source.name, source.port, policy)
}

/** On every response: nothing is loaded from elsewhere, framed, sniffed or told where the visitor came from. */
export const securityHeaders: Readonly<Record<string, string>> = {
  "content-security-policy":
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin"
}
