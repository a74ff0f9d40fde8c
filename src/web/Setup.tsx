/**
 * The demo's banner, and the dialog that writes the first configuration.
 *
 * Owns: what is asked for. The key is in this dialog only while it is open, and is sent once.
 * Does not own: what may be written (the gateway checks it and says what is wrong).
 */
import { useState } from "preact/hooks"
import { Dialog } from "./Dialog.tsx"
import { postJson } from "./client.ts"
import type { Me } from "./state.ts"

interface Provider {
  readonly title: string
  readonly example: string
  /** The variable that usually holds its key; undefined where none is needed. */
  readonly variable?: string
}

const providers: Readonly<Record<string, Provider>> = {
  openai: { title: "OpenAI", example: "gpt-5", variable: "OPENAI_API_KEY" },
  anthropic: { title: "Anthropic", example: "claude-sonnet-4-5", variable: "ANTHROPIC_API_KEY" },
  google: { title: "Google Gemini", example: "gemini-3.8-flash", variable: "GEMINI_API_KEY" },
  openrouter: { title: "OpenRouter", example: "openai/gpt-5", variable: "OPENROUTER_API_KEY" },
  ollama: { title: "Ollama, on the gateway's machine", example: "llama3.2" }
}
const other = "other"

const SetupDialog = ({ onDone, onClose }: { onDone: () => void; onClose: () => void }) => {
  const [provider, setProvider] = useState("openai")
  const [name, setName] = useState("")
  const [address, setAddress] = useState("")
  const [model, setModel] = useState("")
  const [key, setKey] = useState("")
  const isOther = provider === other
  const { example, variable } = providers[provider] ?? { example: "its name there" }
  const takesKey = isOther || variable !== undefined
  const save = async () => {
    const failed = await postJson("/api/v1/os/setup", {
      model: `${isOther ? name.trim() : provider}/${model.trim()}`,
      channel: "webchat",
      ...(takesKey && key.trim() !== "" && { api_key: key }),
      ...(isOther && { base_url: address })
    })
    if (failed === undefined) onDone()
    return failed
  }
  return (
    <Dialog
      title="Set up a model"
      action="Write the configuration"
      leave="Cancel"
      onAction={save}
      onClose={onClose}
    >
      <label>
        Provider
        <select value={provider} onChange={(event) => setProvider(event.currentTarget.value)}>
          {Object.entries(providers).map(([id, { title }]) => (
            <option key={id} value={id}>
              {title}
            </option>
          ))}
          <option value={other}>Another one that speaks the OpenAI protocol</option>
        </select>
      </label>
      {isOther && (
        <>
          <label>
            A short name for it
            <input
              type="text"
              required
              pattern="[A-Za-z0-9_\-]+"
              title="Letters, digits, _ and -"
              value={name}
              placeholder="mine"
              autocomplete="off"
              onInput={(event) => setName(event.currentTarget.value)}
            />
          </label>
          <label>
            Its address, up to and with /v1
            <input
              type="url"
              required
              value={address}
              placeholder="https://models.example.com/v1"
              autocomplete="off"
              onInput={(event) => setAddress(event.currentTarget.value)}
            />
          </label>
        </>
      )}
      <label>
        Model
        <input
          type="text"
          required
          value={model}
          placeholder={example}
          autocomplete="off"
          onInput={(event) => setModel(event.currentTarget.value)}
        />
      </label>
      {takesKey && (
        <label>
          Key
          <input
            type="password"
            value={key}
            placeholder={
              variable === undefined
                ? "Empty: it needs none"
                : `Empty: from ${variable} where the gateway runs`
            }
            autocomplete="off"
            onInput={(event) => setKey(event.currentTarget.value)}
          />
        </label>
      )}
      <p class="hint">
        People write first on webchat, which is this page. The configuration is checked, and written to a file
        that only the gateway's user can read.
      </p>
    </Dialog>
  )
}

/** `onChange`: something was set up; ask the gateway again who it is. */
export const Demo = ({ me, onChange }: { me: Me; onChange: () => void }) => {
  const [isAsking, setAsking] = useState(false)
  return (
    <aside class="banner" aria-label="Demo model">
      <strong>Demo model.</strong> It streams and calls tools, but does not think.{" "}
      {me.setup === "restart" ? (
        <span role="status">
          A configuration is written. Restart the gateway to use it: Ctrl-C where it runs, then{" "}
          <code>npm start</code> (or <code>opencraw serve</code>).
        </span>
      ) : (
        <>
          {me.setup === "offered" && (
            <button type="button" class="plain" onClick={() => setAsking(true)}>
              Set up a model
            </button>
          )}
          {me.setting !== undefined && (
            <span>
              {me.setup === "offered" ? "or" : "For a real model"} set this in <code>opencraw.toml</code> and
              start again: <code>{me.setting}</code>
            </span>
          )}
        </>
      )}
      {isAsking && <SetupDialog onDone={onChange} onClose={() => setAsking(false)} />}
    </aside>
  )
}
