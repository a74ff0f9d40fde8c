/**
 * Texts that are kept so that only this gateway can read them, and texts that are kept as a digest only.
 *
 * Owns: what sealing promises. Does not own: where the keys are kept, or how it is done (`layers/horizons`).
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

/** A sealed text, and the key that opens it. */
export interface Sealed {
  readonly keyId: string
  readonly text: string
}

/** Nothing can be sealed: no key is configured. */
export class NoSecretsKey extends Schema.TaggedError<NoSecretsKey>()("NoSecretsKey", {}) {
  override get message() {
    return "no key is configured that credentials could be encrypted with: set OPENCRAW_SECRETS_KEY"
  }
}
/** It was sealed with a key that is not here. */
export class KeyMissing extends Schema.TaggedError<KeyMissing>()("KeyMissing", { keyId: Schema.String }) {
  override get message() {
    return `it was encrypted with the key ${this.keyId}, which is not configured: add that key behind the present one in OPENCRAW_SECRETS_KEY`
  }
}
/** It is not what was sealed here: it was changed, or belongs to another name. */
export class Tampered extends Schema.TaggedError<Tampered>()("Tampered", {}) {
  override get message() {
    return "what is stored was changed, or belongs to another name: set it again"
  }
}

export class SecretsError extends Schema.TaggedError<SecretsError>()("SecretsError", {
  reason: Schema.Union([NoSecretsKey, KeyMissing, Tampered])
}) {
  override get message() {
    return this.reason.message
  }
}

export class Secrets extends Context.Service<
  Secrets,
  {
    /** Sealed with the present key, for this place alone: it opens for the same `place` only. Refused with `NoSecretsKey`. */
    readonly seal: (
      text: Redacted.Redacted,
      place: ReadonlyArray<string>
    ) => Effect.Effect<Sealed, SecretsError>
    /** Refused with `KeyMissing` or `Tampered`. */
    readonly open: (
      sealed: Sealed,
      place: ReadonlyArray<string>
    ) => Effect.Effect<Redacted.Redacted, SecretsError>
    /** The key that seals now; undefined when there is none. */
    readonly keyId: () => string | undefined
    /**
     * A text of 256 random-looking bits for this place alone, the same every time: one from each key, the present one's first. None
     * without a key.
     */
    readonly derived: (place: ReadonlyArray<string>) => ReadonlyArray<Redacted.Redacted>
    /** What is kept of a text of much randomness, instead of it. */
    readonly digest: (text: string) => string
    /** Is this the digest of the text? Takes the same time whatever is wrong with it. */
    readonly isDigestOf: (digest: string, text: string) => boolean
  }
>()("opencraw/horizons/Secrets") {}
