/** A small line plot as SVG: both axes by powers of ten, a line per series. Pure. */
export interface Series {
  readonly name: string
  readonly points: ReadonlyArray<{ readonly x: number; readonly y: number }>
  /** Drawn dashed and thin: something to compare with, that does not do the same job. */
  readonly isReference: boolean
}

const width = 720
const height = 400
const plot = { left: 70, right: 560, top: 48, bottom: 340 }
const colors = ["#0b6e4f", "#b23a48", "#3f6ec6", "#8a8a8a", "#b8a06a"]

const escaped = (text: string) => text.replace(/[&<>"]/g, (one) => `&#${one.charCodeAt(0)};`)
const short = (value: number): string =>
  value >= 1e6 ? `${value / 1e6}M` : value >= 1e3 ? `${value / 1e3}k` : String(value)

/** Positions between `from` and `to`, none nearer to another than a line of text is high. */
const apart = (wanted: ReadonlyArray<number>): ReadonlyArray<number> => {
  const order = wanted.map((_, at) => at).toSorted((a, b) => (wanted[a] ?? 0) - (wanted[b] ?? 0))
  const placed = [...wanted]
  let last = -Infinity
  for (const at of order) {
    last = Math.max(placed[at] ?? 0, last + 15)
    placed[at] = last
  }
  return placed
}

export const linePlot = (
  title: string,
  axes: { readonly x: string; readonly y: string },
  series: ReadonlyArray<Series>
): string => {
  const points = series.flatMap((one) => one.points)
  const low = Math.floor(Math.log10(Math.min(...points.map(({ y }) => y))) * 2) / 2
  const high = Math.ceil(Math.log10(Math.max(...points.map(({ y }) => y))) * 2) / 2
  const xs = [...new Set(points.map(({ x }) => x))].toSorted((a, b) => a - b)
  const xOf = (x: number) =>
    plot.left + 40 + (xs.indexOf(x) / Math.max(1, xs.length - 1)) * (plot.right - plot.left - 80)
  const yOf = (y: number) => plot.bottom - ((Math.log10(y) - low) / (high - low)) * (plot.bottom - plot.top)
  const ticks = [1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7].filter(
    (tick) => Math.log10(tick) >= low && Math.log10(tick) <= high
  )
  const ends = apart(series.map(({ points: own }) => yOf(own.at(-1)?.y ?? 1)))
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="${plot.left}" y="24" font-size="15" font-weight="bold" fill="#111111">${escaped(title)}</text>`,
    ...ticks.flatMap((tick) => [
      `<line x1="${plot.left}" x2="${plot.right}" y1="${yOf(tick).toFixed(1)}" y2="${yOf(tick).toFixed(1)}" stroke="#e2e2e2"/>`,
      `<text x="${plot.left - 8}" y="${(yOf(tick) + 4).toFixed(1)}" text-anchor="end" fill="#444444">${short(tick)}</text>`
    ]),
    ...xs.map(
      (x) =>
        `<text x="${xOf(x).toFixed(1)}" y="${plot.bottom + 20}" text-anchor="middle" fill="#444444">${x.toLocaleString("en-US")}</text>`
    ),
    `<text x="${(plot.left + plot.right) / 2}" y="${plot.bottom + 42}" text-anchor="middle" fill="#444444">${escaped(axes.x)}</text>`,
    `<text x="${plot.left}" y="40" fill="#444444">${escaped(axes.y)}</text>`,
    ...series.flatMap(({ name, points: own, isReference }, at) => {
      const color = colors[at % colors.length]
      const style = isReference ? `stroke-width="1.2" stroke-dasharray="5 4"` : `stroke-width="2.4"`
      const path = own.map(({ x, y }) => `${xOf(x).toFixed(1)},${yOf(y).toFixed(1)}`).join(" ")
      return [
        `<polyline points="${path}" fill="none" stroke="${color}" ${style}/>`,
        ...own.map(
          ({ x, y }) =>
            `<circle cx="${xOf(x).toFixed(1)}" cy="${yOf(y).toFixed(1)}" r="3.5" fill="${color}"/>`
        ),
        `<text x="${plot.right - 28}" y="${((ends[at] ?? 0) + 4).toFixed(1)}" fill="${color}">${escaped(name)}</text>`
      ]
    }),
    "</svg>"
  ]
  return `${lines.join("\n")}\n`
}
