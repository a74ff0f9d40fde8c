/** The types of `install.mjs`, which is JavaScript because it runs before anything is installed. */
type Part = "source" | "all"

export declare const installFor: (given: {
  readonly need: Part
  readonly lock: string
  /** `node` is the Node 24 it runs with, absent until one was found. Stamps from before there were two parts lack `installed`. */
  readonly stamp: { readonly lock: string; readonly installed?: Part; readonly node?: string } | undefined
  readonly unstamped: boolean
}) => { readonly wanted: Part; readonly present: boolean }
