/**
 * Images on their way from this page: read from files, and sent beside the socket, whose frames are small.
 *
 * Owns: what may be attached, and what an answer to an upload means. Does not own: when it is sent again (`client.ts`).
 */
import type { Frame, ImageNote } from "./frames.ts"

/** An image as it is sent: `url` is a data: URL. */
export interface Attachment extends ImageNote {
  readonly url: string
}

/** What the gateway takes, and all providers read. */
export const mediaTypes: ReadonlyArray<string> = ["image/png", "image/jpeg", "image/gif", "image/webp"]
const maxImages = 8
/** The gateway's own bound is its operator's; beyond this a file is not even read. */
const maxFileBytes = 20_000_000

const read = (file: File): Promise<Attachment> =>
  new Promise((resolve, reject) => {
    const reader = new FileReader()
    reader.addEventListener("load", () =>
      resolve({ media_type: file.type, bytes: file.size, url: String(reader.result) })
    )
    reader.addEventListener("error", () => reject(reader.error ?? new Error("unreadable")))
    reader.readAsDataURL(file)
  })

/** The files behind those that are attached, or why one of them cannot be. */
export const attach = async (
  attached: ReadonlyArray<Attachment>,
  files: ReadonlyArray<File>
): Promise<{ readonly images: ReadonlyArray<Attachment>; readonly problem?: string }> => {
  const fits = files.filter((file) => mediaTypes.includes(file.type) && file.size <= maxFileBytes)
  const taken = fits.slice(0, maxImages - attached.length)
  const images = [...attached, ...(await Promise.all(taken.map(read)))]
  if (files.some((file) => !mediaTypes.includes(file.type))) {
    return { images, problem: "Only PNG, JPEG, GIF and WebP images can be attached." }
  }
  if (fits.length < files.length) return { images, problem: "An image is too large to be attached." }
  return taken.length < fits.length
    ? { images, problem: `A message takes at most ${maxImages} images.` }
    : { images }
}

const notNow = new Set([408, 425, 500, 502, 504])

/** Send a message with its images. Gives what the socket would have said of it; undefined for "not now". */
export const upload = async (
  session: string,
  message: { readonly id: string; readonly content: string },
  images: ReadonlyArray<Attachment>
): Promise<Frame | undefined> => {
  try {
    const response = await fetch("/api/v1/os/messages/send", {
      method: "POST",
      headers: { "content-type": "application/json" },
      credentials: "same-origin",
      body: JSON.stringify({ session_key: session, ...message, images: images.map(({ url }) => url) })
    })
    if (notNow.has(response.status)) return undefined
    const body = (await response.json()) as {
      readonly message_id?: string
      readonly seq?: number
      readonly error?: { readonly code?: string; readonly message?: string }
    }
    if (response.ok) {
      return { type: "ack", id: message.id, message_id: body.message_id ?? "", seq: body.seq ?? 0 }
    }
    const { code = "refused", message: why = `the gateway answered ${response.status}` } = body.error ?? {}
    return { type: "refused", id: message.id, code, message: why }
  } catch {
    return undefined
  }
}
