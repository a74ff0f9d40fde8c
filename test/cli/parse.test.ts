import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { commands } from "#src/gateway/cli/commands.ts"
import { completionsOf } from "#src/gateway/cli/completions.ts"
import { helpOf } from "#src/gateway/cli/help.ts"
import { parse } from "#src/gateway/cli/parse.ts"

const run = (...args: ReadonlyArray<string>) => {
  const parsed = parse(args)
  assert.strictEqual(parsed._tag, "Run", JSON.stringify(parsed))
  return parsed._tag === "Run"
    ? { name: parsed.given.command.name, values: Object.fromEntries(parsed.given.values) }
    : undefined
}
const problem = (...args: ReadonlyArray<string>) => {
  const parsed = parse(args)
  return parsed._tag === "Wrong" ? parsed.problem : parsed._tag
}

describe("arguments", () => {
  it("are a command, its words and its flags, in any order and either spelling", () => {
    assert.deepStrictEqual(run("sessions", "show", "main", "--last", "20", "--json"), {
      name: "sessions show",
      values: { KEY: "main", last: "20", json: "" }
    })
    assert.deepStrictEqual(run("sessions", "show", "--last=20", "main")?.values, { KEY: "main", last: "20" })
    assert.deepStrictEqual(run("serve", "--config", "a b.toml")?.values, { config: "a b.toml" })
  })

  it("of send are one text; what follows -- is never a flag", () => {
    assert.deepStrictEqual(run("send", "--session", "x", "how", "are", "you")?.values, {
      session: "x",
      TEXT: "how are you"
    })
    assert.deepStrictEqual(run("send", "--", "--json", "-x")?.values, { TEXT: "--json -x" })
    assert.deepStrictEqual(run("send", "-")?.values, { TEXT: "-" })
  })

  it("of a command that others begin with are its own or theirs", () => {
    assert.deepStrictEqual(run("lanes"), { name: "lanes", values: {} })
    assert.deepStrictEqual(run("lanes", "--watch", "--json"), {
      name: "lanes",
      values: { watch: "", json: "" }
    })
    assert.deepStrictEqual(run("lanes", "stop", "main"), { name: "lanes stop", values: { KEY: "main" } })
    assert.deepStrictEqual(run("lanes", "pause"), { name: "lanes pause", values: {} })
    assert.match(problem("lanes", "stop"), /lanes stop needs KEY/)
    assert.match(problem("lanes", "puase"), /lanes does not take puase; did you mean pause/)
    assert.match(problem("lanes", "stop", "a", "--watch"), /lanes stop has no flag --watch/)
  })

  it("that make no sense are told with what was probably meant", () => {
    assert.match(problem("sesions"), /no command sesions; did you mean sessions/)
    assert.match(problem("sessions", "lsit"), /no command lsit; did you mean list/)
    assert.match(problem("serve", "--confg", "x"), /no flag --confg; did you mean --config/)
    assert.match(problem("serve", "--loud"), /no flag --loud$/)
    assert.match(problem("serve", "-c"), /no flag -c/)
    assert.match(problem("serve", "--config"), /--config needs a value: --config FILE/)
    assert.match(problem("serve", "--config="), /--config needs a value/)
    assert.match(problem("doctor", "--config", "--json"), /--config needs a value/)
    assert.match(problem("lanes", "--json", "--json"), /given twice/)
    assert.match(problem("lanes", "--json=yes"), /takes no value/)
    assert.match(problem("sessions", "show"), /needs KEY/)
    assert.match(problem("trace", "a", "b"), /does not take b/)
    assert.match(problem("completions", "tcsh"), /one of bash, zsh, fish/)
    assert.match(problem("sessions", "export", "a", "--format", "pdf"), /one of jsonl, markdown/)
    assert.match(problem("help", "dance"), /no command dance/)
  })

  it("ask for help anywhere", () => {
    assert.deepStrictEqual(parse([]), { _tag: "Help", of: [] })
    assert.deepStrictEqual(parse(["help", "sessions"]), { _tag: "Help", of: ["sessions"] })
    assert.deepStrictEqual(parse(["sessions"]), { _tag: "Help", of: ["sessions"] })
    assert.deepStrictEqual(parse(["sessions", "show", "--last", "x", "-h"]), {
      _tag: "Help",
      of: ["sessions", "show"]
    })
    assert.deepStrictEqual(parse(["--version"]), { _tag: "Version" })
  })

  it("never crash the parser", () => {
    const words = [
      "",
      "-",
      "--",
      "---",
      "--=",
      "-x=1",
      "--config",
      "send",
      "sessions",
      "help",
      "\u0000",
      "🙂"
    ]
    for (const a of words)
      for (const b of words) for (const c of words) assert.isString(parse([a, b, c])._tag)
  })
})

describe("help", () => {
  it("shows each command with its flags and examples that its own parser takes", () => {
    for (const command of commands) {
      const text = helpOf(command.name.split(" "))
      assert.include(helpOf([]), command.about)
      for (const { name } of command.flags) assert.include(text, `--${name}`)
      assert.isNotEmpty(command.examples)
      for (const { line } of command.examples) {
        const typed = line.replace(/^.*?opencraw /, "").replace(/\)".*$| > .*$/, "")
        const words = [...typed.matchAll(/'([^']*)'|\S+/g)].map(([word, quoted]) => quoted ?? word)
        const parsed = parse(words)
        assert.isTrue(parsed._tag === "Run" || parsed._tag === "Version", line)
        if (parsed._tag === "Run") assert.strictEqual(parsed.given.command, command, line)
      }
    }
  })

  it("of a command that others begin with shows it and them", () => {
    const text = helpOf(["lanes"])
    for (const part of ["opencraw lanes [flags]", "--watch", "lanes pause [KEY]", "lanes COMMAND --help"]) {
      assert.include(text, part)
    }
    assert.notInclude(helpOf(["lanes", "stop"]), "COMMAND")
    assert.notInclude(helpOf(["sessions"]), "Examples")
  })

  it("fits a terminal of 160 columns", () => {
    for (const words of [[], ...commands.map(({ name }) => name.split(" "))]) {
      for (const line of helpOf(words).split("\n")) assert.isAtMost(line.length, 160, line)
    }
  })
})

describe("completions", () => {
  const bash = spawnSync("bash", ["--version"]).status === 0

  /** What bash would offer after these words. */
  const offered = (line: ReadonlyArray<string>): ReadonlyArray<string> => {
    const file = join(mkdtempSync(join(tmpdir(), "opencraw-")), "completions.bash")
    writeFileSync(file, completionsOf("bash") ?? "")
    const script = `source ${file}; COMP_WORDS=(${line.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${line.length - 1}; _opencraw; printf '%s\\n' "\${COMPREPLY[@]}"`
    const { stdout, stderr, status } = spawnSync("bash", ["-c", script], { encoding: "utf8" })
    assert.strictEqual(status, 0, stderr)
    return stdout.trim().split("\n")
  }

  it.skipIf(!bash)("of bash offer commands, commands of a group, flags and choices", () => {
    assert.includeMembers([...offered(["opencraw", ""])], ["serve", "sessions", "doctor", "config"])
    assert.deepStrictEqual(offered(["opencraw", "sess"]), ["sessions"])
    assert.sameMembers([...offered(["opencraw", "sessions", ""])], ["list", "show", "delete", "export"])
    assert.includeMembers([...offered(["opencraw", "sessions", "show", "--"])], ["--last", "--json"])
    assert.deepStrictEqual(offered(["opencraw", "config", "init", "--channel", ""]), ["webchat"])
    assert.deepStrictEqual(offered(["opencraw", "completions", "z"]), ["zsh"])
    assert.includeMembers([...offered(["opencraw", "lanes", ""])], ["stop", "pause", "--watch"])
    assert.deepStrictEqual(offered(["opencraw", "lanes", "--json", "--w"]), ["--watch"])
    assert.notInclude(offered(["opencraw", "lanes", "stop", "--"]), "--watch")
  })

  it("of every shell name every command", () => {
    for (const shell of ["bash", "zsh", "fish"]) {
      for (const { name } of commands) {
        for (const word of name.split(" ")) assert.include(completionsOf(shell), word, shell)
      }
    }
    assert.isUndefined(completionsOf("tcsh"))
    assert.isUndefined(completionsOf("constructor"))
  })
})

describe("docs/cli.md", () => {
  it("tells every command as it is (else run node scripts/cliDocs.ts)", () => {
    const script = fileURLToPath(new URL("../../scripts/cliDocs.ts", import.meta.url))
    const { status, stderr } = spawnSync(process.execPath, [script, "--check"], { encoding: "utf8" })
    assert.strictEqual(stderr, "")
    assert.strictEqual(status, 0)
  })
})
