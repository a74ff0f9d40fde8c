/** The list of conversations: find one, begin one, go to one. */
import { useEffect, useRef } from "preact/hooks"
import { type Listed, type SessionList, isNamed, matching, nameOf, titleOf } from "./sessions.ts"

interface Props {
  readonly list: SessionList
  /** The conversation on the screen; undefined when none is. */
  readonly current: string | undefined
  /** Undefined for whoever may not see it. */
  readonly activity: { readonly isCurrent: boolean; readonly onOpen: () => void } | undefined
  /** Sessions that hold messages which were never accepted. */
  readonly unsent: ReadonlyArray<string>
  readonly search: string
  readonly onSearch: (text: string) => void
  /** On a narrow screen: it covers the conversation. */
  readonly isOver: boolean
  readonly onClose: () => void
  readonly onOpen: (name: string) => void
  readonly onNew: () => void
}

const when = (at: number): string => {
  const date = new Date(at)
  const now = new Date()
  if (date.toDateString() === now.toDateString())
    return date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
  const sameYear = date.getFullYear() === now.getFullYear()
  return date.toLocaleDateString([], {
    day: "numeric",
    month: "short",
    ...(!sameYear && { year: "numeric" })
  })
}

/** A click that goes there on this page; a new tab or window is the browser's business. */
export const onPlainClick = (go: () => void) => (event: MouseEvent) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return
  event.preventDefault()
  go()
}

const Row = ({ row, props }: { row: Listed; props: Props }) => {
  const name = nameOf(row.session_key)
  const isCurrent = props.current !== undefined && isNamed(props.current, row.session_key)
  const facts = [
    when(row.updated_at),
    row.agent === "main" ? "" : row.agent,
    row.forked_from === undefined ? "" : "fork",
    row.open > 0 ? `${row.open} open` : "",
    !isCurrent && props.unsent.includes(name) ? "not sent yet" : ""
  ]
  return (
    <li>
      <a
        href={`?session=${encodeURIComponent(name)}`}
        aria-current={isCurrent ? "page" : undefined}
        title={titleOf(row)}
        onClick={onPlainClick(() => props.onOpen(name))}
      >
        <span class="name">{titleOf(row)}</span>
        <span class="facts">{facts.filter(Boolean).join(" · ")}</span>
      </a>
    </li>
  )
}

export const Sidebar = (props: Props) => {
  const { list, search, isOver } = props
  const rows = matching(list.rows, search)
  const box = useRef<HTMLInputElement>(null)
  useEffect(() => {
    if (isOver) box.current?.focus()
  }, [isOver])
  return (
    <nav
      id="conversations"
      class={isOver ? "side over" : "side"}
      aria-label="Conversations"
      onKeyDown={(event) => {
        if (event.key === "Escape") props.onClose()
      }}
    >
      <div class="top">
        <h1>OpenCraw</h1>
        <button type="button" class="quiet" aria-label="New conversation" onClick={props.onNew}>
          New
        </button>
        <button type="button" class="quiet narrow" onClick={props.onClose}>
          Close
        </button>
      </div>
      <input
        ref={box}
        type="search"
        value={search}
        aria-label="Search conversations"
        placeholder="Search"
        onInput={(event) => props.onSearch(event.currentTarget.value)}
      />
      <p class="unseen" role="status">
        {search === "" ? "" : `${rows.length} found`}
      </p>
      {rows.length === 0 && list.isRead && (
        <p class="hint">{search === "" ? "No conversation yet." : "Nothing found."}</p>
      )}
      <ul>
        {rows.map((row) => (
          <Row key={row.session_key} row={row} props={props} />
        ))}
      </ul>
      {list.isCut && <p class="hint">Only the {list.rows.length} latest are here.</p>}
      {props.activity !== undefined && (
        <p class="views">
          <a
            href="?view=activity"
            aria-current={props.activity.isCurrent ? "page" : undefined}
            onClick={onPlainClick(props.activity.onOpen)}
          >
            Activity
          </a>
        </p>
      )}
      <p class="foot">
        <a href="/docs" target="_blank" rel="noopener">
          API documentation
        </a>
      </p>
    </nav>
  )
}
