/**
 * The port to the files of the page. It holds no data of anybody, so everybody may read it.
 *
 * Does not own: where they are (`layers/gateway/FolderPageFiles`).
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

export interface PageFile {
  readonly bytes: Uint8Array
  readonly contentType: string
  /** Its name holds a hash of its content, so it may be kept for ever. */
  readonly isImmutable: boolean
}

export class PageFiles extends Context.Service<
  PageFiles,
  {
    /** The file of a decoded path such as `/assets/a.js`; `/` is the index. Never leaves the page's folder. */
    readonly read: (path: string) => Effect.Effect<PageFile | undefined>
  }
>()("opencraw/gateway/PageFiles") {}
