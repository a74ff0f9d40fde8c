/**
 * The room as one Layer: everything that is answered over HTTP and WebSocket, without the server that listens.
 *
 * Requires the running system (inbound, lanes, sessions, outbound, feed, log, channels, checks), the settings of the gateway and the
 * agents, ids, and four adapters: `GatewaySecrets`, `ConfigFile`, `EventStream` and `PageFiles`.
 */
import * as Layer from "effect/Layer"
import * as Auth from "./Auth.ts"
import * as GatewayApp from "./GatewayApp.ts"
import * as Shutdown from "./Shutdown.ts"
import * as Sockets from "./Sockets.ts"

export const layer = Layer.mergeAll(Sockets.layer, GatewayApp.layer).pipe(
  Layer.provideMerge(Layer.mergeAll(Auth.layer, Shutdown.layer))
)
