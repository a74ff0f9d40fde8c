/** The page's colours are readable in both themes: WCAG 2.2, 1.4.3 (text, 4.5) and 1.4.11 (edges of controls, 3). */
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"

const style = readFileSync(new URL("../../src/web/style.css", import.meta.url), "utf8")
const blocks = style.split("prefers-color-scheme: dark")
const themes = { light: blocks[0]!, dark: blocks[1]! }

const colour = (theme: string, name: string): string => {
  const found = new RegExp(`--${name}: (#[0-9a-f]{6});`).exec(theme)?.[1]
  assert.isDefined(found, name)
  return found!
}
const luminance = (hex: string): number => {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(hex.slice(at, at + 2), 16) / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!
}
const ratio = (one: string, other: string): number => {
  const [dark, light] = [luminance(one), luminance(other)].sort((left, right) => left - right)
  return (light! + 0.05) / (dark! + 0.05)
}

const pairs: ReadonlyArray<readonly [text: string, ground: string, least: number]> = [
  ["text", "ground", 4.5],
  ["text", "raised", 4.5],
  ["text", "mine", 4.5],
  ["quiet", "ground", 4.5],
  ["quiet", "raised", 4.5],
  ["quiet", "mine", 4.5],
  ["accent", "ground", 4.5],
  ["accent", "raised", 4.5],
  ["on-accent", "accent", 4.5],
  ["warn-text", "warn-ground", 4.5],
  ["bad", "ground", 4.5],
  ["bad", "raised", 4.5],
  ["edge", "ground", 3],
  ["edge", "raised", 3]
]

describe("contrast", () => {
  for (const [name, theme] of Object.entries(themes)) {
    it(`of the ${name} theme is enough to read by`, () => {
      const low = pairs.flatMap(([text, ground, least]) => {
        const found = ratio(colour(theme, text), colour(theme, ground))
        return found < least ? [`${text} on ${ground}: ${found.toFixed(2)}, needs ${least}`] : []
      })
      assert.deepStrictEqual(low, [])
    })
  }
})
