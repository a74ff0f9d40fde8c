/**
 * Markdown on the screen.
 *
 * Owns: the elements of each piece, the mark of links that lead away, and copying code. Text reaches the page as text nodes only.
 * Does not own: what is markup (`markdown.ts`).
 */
import { type ComponentChildren, type VNode } from "preact"
import { useMemo, useRef, useState } from "preact/hooks"
import { type Align, type Block, MarkdownText } from "./markdown.ts"
import type { Inline } from "./markdownInline.ts"

const inlineNode = (node: Inline, index: number): ComponentChildren => {
  if (typeof node === "string") return node
  switch (node.kind) {
    case "break":
      return <br key={index} />
    case "code":
      return <code key={index}>{node.text}</code>
    case "strong":
      return <strong key={index}>{node.children.map(inlineNode)}</strong>
    case "em":
      return <em key={index}>{node.children.map(inlineNode)}</em>
    case "del":
      return <del key={index}>{node.children.map(inlineNode)}</del>
    case "link":
      return (
        <a
          key={index}
          class="away"
          href={node.href}
          title={node.href}
          target="_blank"
          rel="noopener noreferrer"
        >
          {node.isImage && "Image: "}
          {node.children.map(inlineNode)}
          <span class="unseen"> (leads away, opens a new tab)</span>
        </a>
      )
  }
}

/** Without https there is no clipboard; the old way needs a selection. */
const copy = async (text: string, from: HTMLElement | null): Promise<boolean> => {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const selection = getSelection()
    if (from === null || selection === null) return false
    selection.selectAllChildren(from)
    const done = document.execCommand("copy")
    selection.removeAllRanges()
    return done
  }
}

const Code = ({ language, text }: { language: string; text: string }) => {
  const [said, setSaid] = useState("Copy")
  const code = useRef<HTMLElement>(null)
  const onClick = async () => {
    setSaid((await copy(text, code.current)) ? "Copied" : "Press Ctrl+C")
    setTimeout(() => setSaid("Copy"), 2000)
  }
  return (
    <div class="code">
      <div class="bar">
        <span>{language}</span>
        <button type="button" class="plain" aria-live="polite" onClick={() => void onClick()}>
          {said}
        </button>
      </div>
      {/* Scrolls sideways, which a keyboard can do only from within. */}
      <pre tabIndex={0}>
        <code ref={code}>{text}</code>
      </pre>
    </div>
  )
}

const aligned = (align: Align) => (align === undefined ? {} : { class: align })

/** Headings of an answer stand below those of the page. */
const headings = ["h3", "h4", "h5", "h6", "h6", "h6"] as const

const blockNode = (block: Block): VNode => {
  switch (block.kind) {
    case "paragraph":
      return <p>{block.children.map(inlineNode)}</p>
    case "heading": {
      const Tag = headings[block.level - 1] ?? "h6"
      return <Tag>{block.children.map(inlineNode)}</Tag>
    }
    case "code":
      return <Code language={block.language} text={block.text} />
    case "quote":
      return <blockquote>{block.blocks.map(blockNode)}</blockquote>
    case "rule":
      return <hr />
    case "list": {
      const items = block.items.map((item, index) => (
        <li key={index} class={item.checked === undefined ? undefined : "task"}>
          {item.checked !== undefined && (
            <span role="img" aria-label={item.checked ? "done" : "to do"}>
              {item.checked ? "☑" : "☐"}
            </span>
          )}
          {item.blocks.map(blockNode)}
        </li>
      ))
      return block.start === undefined ? <ul>{items}</ul> : <ol start={block.start}>{items}</ol>
    }
    case "table":
      return (
        <div class="table" tabIndex={0}>
          <table>
            <thead>
              <tr>
                {block.head.map((cell, index) => (
                  <th key={index} scope="col" {...aligned(block.align[index])}>
                    {cell.map(inlineNode)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {block.rows.map((row, at) => (
                <tr key={at}>
                  {row.map((cell, index) => (
                    <td key={index} {...aligned(block.align[index])}>
                      {cell.map(inlineNode)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )
  }
}

/** A text as Markdown. While it grows, what is complete is neither parsed nor compared again. */
export const Markdown = ({ text }: { text: string }) => {
  const held = useMemo(() => ({ reader: new MarkdownText(), nodes: new WeakMap<Block, VNode>() }), [])
  // The same node object again tells Preact that nothing below it has changed.
  const nodes = held.reader.blocks(text).map((block) => {
    const known = held.nodes.get(block)
    if (known !== undefined) return known
    const made = blockNode(block)
    held.nodes.set(block, made)
    return made
  })
  return <div class="md">{nodes}</div>
}
