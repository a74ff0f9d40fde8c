/**
 * The gateway's own secrets, as far as `src` may touch them.
 *
 * Does not own: where the key is kept or how it signs (`layers/gateway/NodeGatewaySecrets`).
 */
import * as Context from "effect/Context"

export class GatewaySecrets extends Context.Service<
  GatewaySecrets,
  {
    /** True for the operator's token. Takes the same time whatever is wrong with it. */
    readonly isToken: (candidate: string) => boolean
    /**
     * The text with a signature behind it. Valid across restarts and in other gateways with the same token, until the token is replaced;
     * where none is configured, until the data directory's key is.
     */
    readonly sign: (text: string) => string
    /** The signed text, or undefined when the signature is not ours. Constant time. */
    readonly verify: (signed: string) => string | undefined
  }
>()("opencraw/gateway/GatewaySecrets") {}
