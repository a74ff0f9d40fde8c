/**
 * Images in what clients send.
 *
 * Pure. Owns: which images are taken, and how much of them a request may bring. Nothing is ever loaded from elsewhere.
 */
import * as Result from "effect/Result"
import { bytesOf, type Image, leftOut, mediaTypeOf, mediaTypes } from "#src/domain/Image.ts"
import { ApiError, invalid } from "./ApiError.ts"
import { isObject } from "./Json.ts"

/** Of one message. */
const maxImages = 8

const refused = (param: string, code: string, message: string, status: 400 | 413 = 400) =>
  Result.fail(new ApiError({ status, code, message, param }))

/** The image of an `image_url` part at `param`. */
export const read = (part: unknown, param: string): Result.Result<Image, ApiError> =>
  readUrl(isObject(part) ? part["url"] : part, `${param}.url`)

/** A list of images at `param`, each as a data: URL, none for undefined; of `maxBytes` together. */
export const readList = (
  list: unknown,
  param: string,
  maxBytes: number
): Result.Result<ReadonlyArray<Image>, ApiError> =>
  Result.gen(function* () {
    if (list === undefined) return []
    if (!Array.isArray(list))
      return yield* Result.fail(invalid(param, `${param} must be a list of data: URLs`))
    const images: Array<Image> = []
    for (const [index, url] of list.entries()) images.push(yield* readUrl(url, `${param}[${index}]`))
    yield* check(images, maxBytes, param)
    return images
  })

const readUrl = (url: unknown, at: string): Result.Result<Image, ApiError> => {
  if (typeof url !== "string") return Result.fail(invalid(at, `${at} must be a string`))
  if (!/^data:/i.test(url)) {
    return refused(at, "remote_image", "images are not loaded from elsewhere: send it as a data: URL")
  }
  const comma = url.indexOf(",")
  if (comma < 0 || !/;base64$/i.test(url.slice(0, comma))) {
    return refused(at, "invalid_image", "the data: URL must hold base64")
  }
  const data = url.slice(comma + 1)
  if (data.length === 0 || data.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(data)) {
    return refused(at, "invalid_image", "the image is not valid base64")
  }
  // What it is called is not believed: a provider would refuse a wrong name.
  const mediaType = mediaTypeOf(data)
  return mediaType === undefined
    ? refused(at, "invalid_image", `the image must be one of ${mediaTypes.join(", ")}`)
    : Result.succeed({ mediaType, data })
}

interface WithImages {
  readonly text: string
  readonly images: ReadonlyArray<Image>
}

const sizeOf = (images: ReadonlyArray<Image>): number =>
  images.reduce((sum, image) => sum + bytesOf(image), 0)

/** Whether the message that is to be answered may bring these. */
export const check = (
  images: ReadonlyArray<Image>,
  maxBytes: number,
  param = "messages"
): Result.Result<void, ApiError> => {
  if (images.length > maxImages) {
    return refused(param, "too_many_images", `a message may bring at most ${maxImages} images`)
  }
  return sizeOf(images) <= maxBytes
    ? Result.succeed(undefined)
    : refused(param, "image_too_large", `a message's images may have at most ${maxBytes} bytes`, 413)
}

/**
 * Earlier lines, oldest first, with as many images as fit beside those of the newest message: later ones first. The others are
 * told in words.
 */
export const fitting = <A extends WithImages>(
  lines: ReadonlyArray<A>,
  newest: ReadonlyArray<Image>,
  maxBytes: number
): ReadonlyArray<A> => {
  let bytes = sizeOf(newest)
  let count = newest.length
  let isFull = false
  const fitted = lines.toReversed().map((line): A => {
    if (line.images.length === 0) return line
    bytes += sizeOf(line.images)
    count += line.images.length
    isFull ||= bytes > maxBytes || count > maxImages
    return isFull ? { ...line, text: leftOut(line.text, line.images.length), images: [] } : line
  })
  return fitted.toReversed()
}
