/**
 * The conversation: its newest lines, and more as the reader goes up.
 *
 * Owns: how many lines are on the screen, staying at the end while the reader follows, and staying in place when lines come above.
 * Does not own: a line's looks (`Lines.tsx`).
 */
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks"
import type { Client } from "./client.ts"
import { type Asks, Item, type Stage, Writing } from "./Lines.tsx"
import type { State } from "./state.ts"
import { type Line, asRead, openLines } from "./transcript.ts"

/** Lines on the screen at first, and how many more each time. */
const SHOWN = 120
/** Nearer to the bottom than this, the reader is following along. */
const FOLLOWING_PX = 80

const keyOf = (line: Line) =>
  line.kind === "user" && line.clientId !== "" ? line.clientId : `${line.kind}${line.seq}`

/** For each line of a person where it stands. */
const stagesOf = (lines: ReadonlyArray<Line>): ((line: Line) => Stage) => {
  const open = new Set<Line>(openLines(lines))
  const first = openLines(lines)[0]
  const answers = lines.flatMap((line) => (line.kind === "user" ? [] : [line.answers]))
  const answered = new Set(answers.flat())
  const together = new Set(answers.filter((ids) => ids.length > 1).flat())
  return (line) => {
    if (line.kind !== "user" || line.status !== "accepted") return undefined
    if (open.has(line)) return line === first ? "running" : "queued"
    if (together.has(line.clientId)) return "together"
    if (answered.has(line.clientId) || line.clientId === "") return undefined
    // What ended behind a message that is being answered may have gone into that answer.
    const isBehind = first?.seq !== undefined && line.seq !== undefined && line.seq > first.seq
    return isBehind && (line.steers || line.note === undefined) ? undefined : "unanswered"
  }
}

/** The line at the upper edge, and where it is. */
const firstVisible = (log: HTMLElement | null, inner: HTMLElement | null) => {
  const edge = log?.getBoundingClientRect().top ?? 0
  for (const line of inner?.querySelectorAll(".item") ?? []) {
    const { top: offset, bottom } = line.getBoundingClientRect()
    if (bottom > edge) return { line, offset }
  }
  return undefined
}

interface Props {
  readonly state: State
  readonly client: Client | undefined
  readonly session: string
  readonly asks: Asks
}

export const Log = ({ state, client, session, asks }: Props) => {
  const log = useRef<HTMLDivElement>(null)
  const inner = useRef<HTMLDivElement>(null)
  const top = useRef<HTMLButtonElement>(null)
  const [isFollowing, setFollowing] = useState(true)
  const following = useRef(true)
  const [shown, setShown] = useState(SHOWN)
  const { said, waiting } = useMemo(() => asRead(state.lines), [state.lines])
  const lines = said.slice(-shown)
  const hasMore = said.length > shown || state.earlier !== undefined

  const follow = () => {
    const at = log.current
    if (at !== null && following.current) at.scrollTop = at.scrollHeight
  }
  const follows = (is: boolean) => {
    following.current = is
    setFollowing(is)
  }

  // Lines that come above must not move what is being read. Here the screen still shows what was before this drawing.
  const firstKey = lines[0] === undefined ? "" : keyOf(lines[0])
  const before = useRef(firstKey)
  const held =
    before.current === firstKey || following.current ? undefined : firstVisible(log.current, inner.current)
  useLayoutEffect(() => {
    before.current = firstKey
    if (held !== undefined && log.current !== null)
      log.current.scrollTop += held.line.getBoundingClientRect().top - held.offset
    follow()
  })
  const onScroll = () => {
    const at = log.current
    if (at === null) return
    const is = at.scrollHeight - at.scrollTop - at.clientHeight < FOLLOWING_PX
    if (is !== following.current) follows(is)
  }

  // Texts get their height when they are first drawn, and code when a font comes: the end moves by itself.
  useEffect(() => {
    const watched = inner.current
    if (watched === null) return
    const observer = new ResizeObserver(follow)
    observer.observe(watched)
    return () => observer.disconnect()
  }, [])

  const more = () => {
    setShown((count) => count + SHOWN)
    if (said.length < shown + SHOWN) client?.loadEarlier()
  }
  const wanted = useRef(more)
  wanted.current = more
  useEffect(() => {
    const button = top.current
    if (button === null) return
    const observer = new IntersectionObserver(
      (seen) => {
        if (seen.some((one) => one.isIntersecting) && !following.current) wanted.current()
      },
      { root: log.current, rootMargin: "600px 0px 0px 0px" }
    )
    observer.observe(button)
    return () => observer.disconnect()
  }, [hasMore, lines.length])

  const stageOf = useMemo(() => stagesOf(state.lines), [state.lines])
  const online = state.connection === "online"
  const item = (line: Line) => (
    <div class="item" key={keyOf(line)}>
      <Item line={line} session={session} online={online} stage={stageOf(line)} asks={asks} />
    </div>
  )
  return (
    <div class="around">
      <div
        class="log"
        role="log"
        aria-live="off"
        aria-label="Conversation"
        tabIndex={0}
        ref={log}
        onScroll={onScroll}
      >
        <div class="lines" ref={inner}>
          {state.lines.length === 0 && state.loaded && online && (
            <p class="empty">Say something; the answer appears here.</p>
          )}
          {hasMore && (
            <button type="button" class="plain" ref={top} onClick={more}>
              Show earlier
            </button>
          )}
          {lines.map(item)}
          <Writing state={state} />
          {waiting.map(item)}
        </div>
      </div>
      {!isFollowing && (
        <button
          type="button"
          class="quiet newest"
          onClick={() => {
            follows(true)
            follow()
          }}
        >
          To the newest
        </button>
      )}
    </div>
  )
}
