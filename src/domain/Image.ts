/**
 * Images that people send along with a message.
 *
 * Pure vocabulary. Knows nothing of how a provider is shown one.
 */
import * as Schema from "effect/Schema"

/** What all providers read. */
export const mediaTypes = ["image/png", "image/jpeg", "image/gif", "image/webp"] as const
export const MediaType = Schema.Literals(mediaTypes)
export type MediaType = typeof MediaType.Type

/** An image whole. `data` is base64 with its padding: so it is stored, and so every wire wants it. */
export const Image = Schema.Struct({ mediaType: MediaType, data: Schema.String })
export type Image = typeof Image.Type

/** What the transcript says of an image; the image itself stays with its message's body. */
export const ImageNote = Schema.Struct({ mediaType: MediaType, bytes: Schema.Number })
export type ImageNote = typeof ImageNote.Type

export const bytesOf = ({ data }: Image): number => {
  const padding = data.endsWith("==") ? 2 : data.endsWith("=") ? 1 : 0
  return (data.length / 4) * 3 - padding
}

export const noteOf = (image: Image): ImageNote => ({ mediaType: image.mediaType, bytes: bytesOf(image) })

/** The kind that the first bytes tell; undefined for anything else. What a sender calls it is not believed. */
export const mediaTypeOf = (data: string): MediaType | undefined => {
  if (data.startsWith("iVBORw0KGgo")) return "image/png"
  if (data.startsWith("/9j/")) return "image/jpeg"
  if (/^R0lGODlh|^R0lGODdh/.test(data)) return "image/gif"
  // RIFF, four bytes of length, WEBP.
  return data.startsWith("UklGR") && data.slice(11, 16) === "XRUJQ" ? "image/webp" : undefined
}

/** What stands in a text in place of images that a model is not shown. */
export const leftOut = (text: string, count: number): string => {
  const said = `[${count === 1 ? "1 image was" : `${count} images were`} left out here]`
  return text === "" ? said : `${text}\n\n${said}`
}
