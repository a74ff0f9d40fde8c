/** A question that must be answered before anything else. The browser keeps the focus inside and gives it back. */
import type { ComponentChildren } from "preact"
import { useEffect, useRef, useState } from "preact/hooks"

interface Props {
  readonly title: string
  readonly action: string
  /** How to leave it without the action. */
  readonly leave?: string
  /** The action destroys something. */
  readonly isGrave?: boolean
  /** Gives what went wrong, or undefined when it is done. */
  readonly onAction: () => Promise<string | undefined>
  readonly onClose: () => void
  readonly children: ComponentChildren
}

export const Dialog = ({
  title,
  action,
  leave = "Keep as it is",
  isGrave,
  onAction,
  onClose,
  children
}: Props) => {
  const dialog = useRef<HTMLDialogElement>(null)
  const [problem, setProblem] = useState<string>()
  const [isBusy, setBusy] = useState(false)
  useEffect(() => dialog.current?.showModal(), [])
  const onSubmit = async (event: Event) => {
    event.preventDefault()
    setBusy(true)
    const failed = await onAction()
    setBusy(false)
    if (failed === undefined) onClose()
    else setProblem(failed)
  }
  return (
    <dialog ref={dialog} aria-labelledby="dialog-title" onClose={onClose}>
      <form onSubmit={(event) => void onSubmit(event)}>
        <h2 id="dialog-title">{title}</h2>
        {children}
        {problem !== undefined && <p role="alert">That did not work: {problem}</p>}
        <div class="buttons">
          <button type="button" class="quiet" onClick={onClose}>
            {leave}
          </button>
          <button type="submit" class={isGrave === true ? "grave" : undefined} disabled={isBusy}>
            {action}
          </button>
        </div>
      </form>
    </dialog>
  )
}
