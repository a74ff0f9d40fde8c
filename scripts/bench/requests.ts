/** Requests of this process to a gateway or the fake provider, over kept connections. */
import http from "node:http"

/** What every gateway of a measurement is told to accept. */
export const token = "bench-token"

const agent = new http.Agent({ keepAlive: true, maxSockets: 256 })

interface Reply {
  readonly status: number
  readonly text: string
}

/** One request over a kept connection, with our token. */
export const request = (url: string, method: "GET" | "POST", body?: unknown): Promise<Reply> =>
  new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" }
    const sent = http.request(url, { method, headers, agent, timeout: 120_000 }, (response) => {
      let text = ""
      response.setEncoding("utf8")
      response.on("data", (chunk: string) => {
        text += chunk
      })
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }))
      response.on("error", reject)
    })
    sent.setNoDelay(true)
    sent.on("timeout", () => sent.destroy(new Error(`no answer from ${url} within 120 s`)))
    sent.on("error", reject)
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })

/** One message in a session, waited for. Fails unless it was answered. */
export const ask = async (
  gateway: { readonly url: string },
  session: string,
  content: string
): Promise<void> => {
  const { status, text } = await request(`${gateway.url}/v1/chat/completions`, "POST", {
    model: "opencraw",
    user: session,
    messages: [{ role: "user", content }]
  })
  if (status !== 200) throw new Error(`a message was answered with ${status}: ${text.slice(0, 200)}`)
}

/** Without this the kept connections would hold the process. */
export const closeConnections = (): void => agent.destroy()
