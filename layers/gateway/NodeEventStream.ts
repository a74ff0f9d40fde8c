/** Event streams written straight to Node's response. */
import type { ServerResponse } from "node:http"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as Layer from "effect/Layer"
import { EventStream } from "#src/gateway/EventStream.ts"
import { securityHeaders } from "#src/gateway/Guard.ts"

export const layer = Layer.succeed(EventStream)(
  EventStream.of({
    open: (request, headers) => {
      // This gateway speaks HTTP/1.1 only.
      const response = NodeHttpServerRequest.toServerResponse(request) as ServerResponse
      response.writeHead(200, {
        ...securityHeaders,
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        ...headers
      })
      return {
        write: (text) => {
          if (!response.destroyed) response.write(text)
        },
        buffered: () => response.writableLength,
        end: () => void response.end()
      }
    }
  })
)
