/**
 * The command line as a table: every command, its arguments, flags and examples.
 *
 * Parsing, help, shell completions and docs/cli.md are made of this table, so that they cannot disagree. It imports nothing: what
 * reads it must answer as fast as Node itself starts.
 * Does not own: what a command does (`layers`).
 */

export interface Flag {
  readonly name: string
  /** What stands for its value in the help; a flag without one is a switch. */
  readonly value?: string
  readonly choices?: ReadonlyArray<string>
  readonly about: string
}

export interface Argument {
  readonly name: string
  readonly about: string
  readonly isOptional?: boolean
  /** Takes all the words that are left. */
  readonly takesRest?: boolean
  readonly choices?: ReadonlyArray<string>
}

export interface Command {
  /** `sessions list`. */
  readonly name: string
  readonly about: string
  /** More, for its own help. */
  readonly details?: string
  readonly arguments: ReadonlyArray<Argument>
  readonly flags: ReadonlyArray<Flag>
  readonly examples: ReadonlyArray<{ readonly line: string; readonly about: string }>
}

/** On every command. */
export const help: Flag = { name: "help", about: "show this help" }
const config: Flag = { name: "config", value: "FILE", about: "the configuration file" }
const json: Flag = { name: "json", about: "print JSON for programs" }
const project: Flag = {
  name: "project",
  value: "ORG/PROJECT",
  about: "whose sessions and keys are meant; local/default without"
}
const session: Flag = {
  name: "session",
  value: "KEY",
  about: "the session, as the page shows it; main without"
}

const one = (name: string, about: string): Argument => ({ name, about })

export const commands: ReadonlyArray<Command> = [
  {
    name: "serve",
    about: "run the gateway and its page",
    details:
      "Logs go to stderr. When it listens it prints one JSON line with its address, and on a terminal a link to the page.",
    arguments: [],
    flags: [config],
    examples: [
      { line: "opencraw serve", about: "with ./opencraw.toml, or with defaults and the demo model" },
      { line: "opencraw serve --config /etc/opencraw.toml", about: "with this file" }
    ]
  },
  {
    name: "open",
    about: "print a one-time link to the page of the running gateway",
    arguments: [],
    flags: [config, json],
    examples: [{ line: "opencraw open", about: "open what it prints in a browser within ten minutes" }]
  },
  {
    name: "send",
    about: "send one message and print its answer",
    details:
      "Without TEXT, or with -, the message is read from standard input. The same --id is the same message: it is sent once.",
    arguments: [{ name: "TEXT", about: "the message", isOptional: true, takesRest: true }],
    flags: [
      session,
      { name: "id", value: "ID", about: "your own id of the message" },
      { name: "no-wait", about: "print the message's id once it is durable, and do not wait" },
      project,
      config,
      json
    ],
    examples: [
      { line: "opencraw send What is the time?", about: "to the session main" },
      { line: "git log -5 | opencraw send --session notes -", about: "from standard input" }
    ]
  },
  {
    name: "chat",
    about: "talk in the terminal",
    details:
      "Answers stream. While it is away, it connects again and nothing is lost. In it: /stop, /session KEY, /trace, /help, /quit, and the gateway's own commands.",
    arguments: [],
    flags: [session, project, config],
    examples: [
      { line: "opencraw chat", about: "the session main, which the page shows too" },
      { line: "opencraw chat --session planning", about: "another session" }
    ]
  },
  {
    name: "doctor",
    about: "check everything it depends on, and say how to mend it",
    details:
      "Calls the model's provider once, with a question of a few tokens. Works with and without a running gateway. Exit code 2 when something failed.",
    arguments: [],
    flags: [{ name: "offline", about: "call no provider" }, config, json],
    examples: [
      { line: "opencraw doctor", about: "what is wrong here?" },
      { line: "opencraw doctor --offline --json", about: "for a supervisor" }
    ]
  },
  {
    name: "migrate",
    about: "bring the store to the schema of this version, without starting a gateway",
    details:
      "A start does the same by itself. All or nothing; a schema of a newer version is refused. Of several at once one migrates.",
    arguments: [],
    flags: [{ name: "plan", about: "only say what would be done" }, config, json],
    examples: [
      { line: "opencraw migrate --plan", about: "before an upgrade" },
      { line: "opencraw migrate", about: "with a user that may create tables, before gateways that may not" }
    ]
  },
  {
    name: "sessions list",
    about: "list sessions, latest first",
    arguments: [],
    flags: [{ name: "limit", value: "N", about: "at most so many; 100 without" }, project, config, json],
    examples: [{ line: "opencraw sessions list --limit 10", about: "the latest ten" }]
  },
  {
    name: "sessions show",
    about: "print a conversation",
    arguments: [one("KEY", "the session")],
    flags: [{ name: "last", value: "N", about: "only the newest N messages" }, project, config, json],
    examples: [{ line: "opencraw sessions show main --last 20", about: "the newest twenty messages" }]
  },
  {
    name: "sessions delete",
    about: "stop a session's work and forget it",
    arguments: [one("KEY", "the session")],
    flags: [{ name: "yes", about: "do not ask" }, project, config, json],
    examples: [{ line: "opencraw sessions delete notes --yes", about: "without asking" }]
  },
  {
    name: "sessions export",
    about: "write a whole conversation to a file or standard output",
    arguments: [one("KEY", "the session")],
    flags: [
      {
        name: "format",
        value: "FORMAT",
        choices: ["jsonl", "markdown"],
        about: "one JSON object a line, or text for people; jsonl without"
      },
      { name: "output", value: "FILE", about: "a new file, readable by you only" },
      project,
      config
    ],
    examples: [
      {
        line: "opencraw sessions export main --format markdown --output main.md",
        about: "for people"
      }
    ]
  },
  {
    name: "what-if",
    about: "show what another model or system prompt would have answered in a session",
    details:
      "Asks for each turn again, with the history as it was, and without tools; the session is left as it is. Exit code 2 when an answer failed.",
    arguments: [one("KEY", "the session")],
    flags: [
      { name: "model", value: "PROVIDER/MODEL", about: "who is asked; the agent's own model without" },
      { name: "system", value: "TEXT", about: "the system prompt; the agent's own without" },
      { name: "last", value: "N", about: "only the newest N turns" },
      config,
      json
    ],
    examples: [
      { line: "opencraw what-if main --model anthropic/claude-sonnet-5 --last 5", about: "another model" },
      { line: "opencraw what-if main --system Shout.", about: "another system prompt" }
    ]
  },
  {
    name: "fork",
    about: "begin a new session with what was said in another one, up to an answer",
    details:
      "What was said is shared, not copied, and the other session stays as it is. It cannot be deleted before its forks.",
    arguments: [one("SESSION", "the session to begin with")],
    flags: [
      {
        name: "at",
        value: "SEQ",
        about: "the seq of a message or an answer of the last turn to keep; the last answered turn without"
      },
      { name: "as", value: "KEY", about: "the new session's key; one is made without" },
      project,
      config,
      json
    ],
    examples: [
      { line: "opencraw fork main", about: "with all that was answered so far" },
      { line: "opencraw fork main --at 4 --as plan-b", about: "another way on from the answer 4" }
    ]
  },
  {
    name: "replay",
    about: "decide again what a session's lane decided, and show the first difference or the timeline",
    details:
      "The gateway keeps each decision for [retention] journal_hours, without what was said. Exit code 2 when one is otherwise in this version, or nothing is kept.",
    arguments: [
      { name: "KEY", about: "the session; with --file all that are in it without", isOptional: true }
    ],
    flags: [
      { name: "file", value: "FILE", about: "what --json printed, or what the simulation wrote, instead" },
      { name: "last", value: "N", about: "show only the newest N spells of work; all are decided" },
      project,
      config,
      json
    ],
    examples: [
      { line: "opencraw replay main", about: "what happened, and what was done about it" },
      { line: "opencraw replay main --json > main.json", about: "to keep, or to send to somebody" },
      { line: "opencraw replay --file main.json", about: "with another version of the program" }
    ]
  },
  {
    name: "trace",
    about: "show what became of a message, and when",
    arguments: [one("MESSAGE", "its id, as `send --no-wait` and `sessions show` print it")],
    flags: [project, config, json],
    examples: [{ line: "opencraw trace msg_01J8", about: "accepted, run, steps, tools, sent" }]
  },
  {
    name: "config show",
    about: "print the configuration in force; secrets are not shown",
    arguments: [],
    flags: [config, json],
    examples: [{ line: "opencraw config show", about: "with all defaults" }]
  },
  {
    name: "config check",
    about: "check the configuration and name every problem",
    arguments: [],
    flags: [config, json],
    examples: [{ line: "opencraw config check --config new.toml", about: "before a restart" }]
  },
  {
    name: "config keys",
    about: "list every key with its type and default",
    arguments: [{ name: "SECTION", about: "only this section", isOptional: true }],
    flags: [json],
    examples: [{ line: "opencraw config keys gateway", about: "the keys of [gateway]" }]
  },
  {
    name: "config init",
    about: "ask for model, key and first channel, and write a checked file",
    details:
      "Asks on a terminal for what the flags do not say. The file is readable by you only. --api-key - reads the key from standard input.",
    arguments: [],
    flags: [
      { name: "model", value: "PROVIDER/MODEL", about: "such as openai/gpt-5, ollama/llama3.2, demo/demo" },
      { name: "api-key", value: "KEY", about: "the provider's key; - reads it from standard input" },
      {
        name: "api-key-env",
        value: "NAME",
        about: "the environment variable that holds the key, instead of the key"
      },
      { name: "base-url", value: "URL", about: "the provider's address, for one that is not built in" },
      { name: "channel", value: "CHANNEL", choices: ["webchat"], about: "the first channel people write on" },
      { name: "port", value: "PORT", about: "the gateway's port; 3000 without" },
      { name: "file", value: "FILE", about: "where to write it; ./opencraw.toml without" },
      { name: "force", about: "replace an existing file" },
      json
    ],
    examples: [
      { line: "opencraw config init", about: "asks" },
      {
        line: "opencraw config init --model openai/gpt-5 --api-key-env OPENAI_API_KEY",
        about: "does not ask"
      }
    ]
  },
  {
    name: "lanes",
    about: "show the sessions that are at work or paused now",
    details:
      "With --watch it goes on showing them until Ctrl-C: redrawn on a terminal, else anew after each change; with --json one line per change.",
    arguments: [],
    flags: [{ name: "watch", about: "go on, and show every change" }, project, config, json],
    examples: [
      { line: "opencraw lanes", about: "running, waiting, and how many messages wait" },
      { line: "opencraw lanes --watch", about: "the same, live" }
    ]
  },
  {
    name: "lanes stop",
    about: "cancel what waits in a session, then the answer that is being written",
    arguments: [one("KEY", "the session")],
    flags: [project, config, json],
    examples: [{ line: "opencraw lanes stop main", about: "as /stop in the chat" }]
  },
  {
    name: "lanes abort",
    about: "end the answer that is being written in a session; what waits goes on",
    arguments: [one("KEY", "the session")],
    flags: [project, config, json],
    examples: [{ line: "opencraw lanes abort main", about: "go on with the next message" }]
  },
  {
    name: "lanes pause",
    about: "answer nothing in a session, or in all, until it is resumed",
    details:
      "What runs goes on, and messages are accepted as always. A session stays paused over a restart; without KEY all are paused until then.",
    arguments: [{ name: "KEY", about: "the session; all without", isOptional: true }],
    flags: [project, config, json],
    examples: [
      { line: "opencraw lanes pause main", about: "one session" },
      { line: "opencraw lanes pause", about: "the whole gateway" }
    ]
  },
  {
    name: "lanes resume",
    about: "answer again in a session, or in all, what waited first",
    arguments: [{ name: "KEY", about: "the session; all without", isOptional: true }],
    flags: [project, config, json],
    examples: [
      { line: "opencraw lanes resume", about: "the whole gateway; sessions paused by themselves stay so" }
    ]
  },
  {
    name: "cancel",
    about: "cancel one message, whether it waits or is being answered",
    arguments: [one("MESSAGE", "its id, as `send --no-wait` and `sessions show` print it")],
    flags: [project, config, json],
    examples: [{ line: "opencraw cancel msg_01J8", about: "what else waits goes on" }]
  },
  {
    name: "usage",
    about: "show tokens and money that were spent",
    details: "Of the last 30 days unless --since says another day. Days are those of UTC.",
    arguments: [],
    flags: [
      {
        name: "by",
        value: "WHAT",
        choices: ["total", "day", "agent", "session", "sender", "model"],
        about: "what to sum by; day without"
      },
      { name: "since", value: "DAY", about: "the first day, such as 2026-11-01" },
      { name: "until", value: "DAY", about: "the last day" },
      { name: "session", value: "KEY", about: "only this session" },
      { name: "sender", value: "ID", about: "only what this person asked for" },
      { name: "agent", value: "NAME", about: "only this agent" },
      { name: "model", value: "PROVIDER/MODEL", about: "only this model" },
      { name: "limit", value: "N", about: "at most so many lines; 100 without" },
      project,
      config,
      json
    ],
    examples: [
      { line: "opencraw usage", about: "day by day" },
      { line: "opencraw usage --by sender --since 2026-11-01", about: "who spent what this month" }
    ]
  },
  {
    name: "approvals",
    about: "show the tool calls that wait for a decision",
    arguments: [],
    flags: [project, config, json],
    examples: [{ line: "opencraw approvals", about: "what is asked, where, and until when" }]
  },
  {
    name: "approve",
    about: "let an agent make the call it asked for",
    arguments: [one("APPROVAL", "its id, as `approvals` prints it")],
    flags: [project, config, json],
    examples: [{ line: "opencraw approve apr_01J8", about: "the run goes on with it" }]
  },
  {
    name: "deny",
    about: "refuse the call an agent asked for",
    arguments: [one("APPROVAL", "its id, as `approvals` prints it")],
    flags: [project, config, json],
    examples: [{ line: "opencraw deny apr_01J8", about: "the run goes on without it" }]
  },
  {
    name: "models list",
    about: "list the models that agents and aliases name, and who answers with them",
    arguments: [],
    flags: [config, json],
    examples: [{ line: "opencraw models list", about: "which agent answers with what, and with what else" }]
  },
  {
    name: "models status",
    about: "show which models and credentials are left alone after failures, and until when",
    details: "Exit code 2 when an agent has no model left that may be asked now.",
    arguments: [],
    flags: [config, json],
    examples: [{ line: "opencraw models status", about: "what rests, and why" }]
  },
  {
    name: "orgs create",
    about: "make an organisation",
    arguments: [one("ORG", "its name: a to z, 0 to 9, _ and -")],
    flags: [{ name: "title", value: "TEXT", about: "what people call it" }, config, json],
    examples: [{ line: "opencraw orgs create acme --title Acme", about: "then a project in it" }]
  },
  {
    name: "orgs list",
    about: "list organisations",
    arguments: [],
    flags: [config, json],
    examples: [{ line: "opencraw orgs list", about: "by name" }]
  },
  {
    name: "projects create",
    about: "make a project, whose sessions, keys, usage and audit log are its own",
    arguments: [one("ORG/PROJECT", "its organisation, which is there, and its name")],
    flags: [{ name: "title", value: "TEXT", about: "what people call it" }, config, json],
    examples: [
      { line: "opencraw projects create acme/support", about: "then: keys create --project acme/support" }
    ]
  },
  {
    name: "projects list",
    about: "list the projects of all organisations",
    arguments: [],
    flags: [config, json],
    examples: [{ line: "opencraw projects list", about: "by name" }]
  },
  {
    name: "users create",
    about: "make a user of an organisation",
    details:
      "A key that is made for somebody new does so by itself. The role is the most that their keys may do.",
    arguments: [one("USER", "their name, as keys and sessions have it")],
    flags: [
      {
        name: "role",
        value: "ROLE",
        choices: ["viewer", "member", "admin"],
        about: "viewer reads, member chats too, admin may do everything; member without"
      },
      { name: "email", value: "ADDRESS", about: "where they are reached" },
      project,
      config,
      json
    ],
    examples: [{ line: "opencraw users create ann --role viewer", about: "who only looks on" }]
  },
  {
    name: "users list",
    about: "list the users of an organisation",
    arguments: [],
    flags: [project, config, json],
    examples: [{ line: "opencraw users list --project acme/support", about: "those of acme" }]
  },
  {
    name: "users role",
    about: "give a user another role, for the keys that are made from now on",
    arguments: [
      one("USER", "their name"),
      { name: "ROLE", about: "what their keys may do at most", choices: ["viewer", "member", "admin"] }
    ],
    flags: [project, config, json],
    examples: [{ line: "opencraw users role ann admin", about: "keys she has stay as they are" }]
  },
  {
    name: "users disable",
    about: "refuse all keys of a user until they are enabled again",
    details: "At once in this gateway, within half a minute in others on the same database.",
    arguments: [one("USER", "their name")],
    flags: [project, config, json],
    examples: [{ line: "opencraw users disable ann", about: "who has left" }]
  },
  {
    name: "users enable",
    about: "let a user's keys in again",
    arguments: [one("USER", "their name")],
    flags: [project, config, json],
    examples: [{ line: "opencraw users enable ann", about: "those that are not revoked or expired" }]
  },
  {
    name: "agents set",
    about: "make an agent of a project, or change it",
    details:
      "It stands before the configuration's agent of this name, from the next run on. What is not said stays as it was; the model is that of main without.",
    arguments: [one("NAME", "a to z, 0 to 9, _ and -; people talk to it in sessions agent:NAME:...")],
    flags: [
      { name: "model", value: "PROVIDER/MODEL", about: "or an alias" },
      { name: "system", value: "TEXT", about: "what it is told first" },
      { name: "tools", value: "TOOLS", about: "names with commas between; empty for none" },
      { name: "ask-before", value: "TOOLS", about: "tools that wait for an approval" },
      project,
      config,
      json
    ],
    examples: [
      {
        line: "opencraw agents set helper --project acme/support --system Briefly.",
        about: "with the usual model"
      }
    ]
  },
  {
    name: "agents list",
    about: "list the agents that a project has of its own",
    arguments: [],
    flags: [project, config, json],
    examples: [{ line: "opencraw agents list --json", about: "with all that was said of them" }]
  },
  {
    name: "agents delete",
    about: "forget an agent of a project",
    details: "The configuration's agent of this name is there again, if it has one.",
    arguments: [one("NAME", "the agent")],
    flags: [project, config, json],
    examples: [{ line: "opencraw agents delete helper --project acme/support", about: "its sessions stay" }]
  },
  {
    name: "db query",
    about: "ask the project's own database, by one SQL statement that reads",
    details:
      "In the SQL of its database: SQLite's in dev, PostgreSQL's in prod. It changes nothing, whatever it says. Without SQL, standard input is read.",
    arguments: [{ name: "SQL", about: "the statement; placeholders are $1, $2", isOptional: true }],
    flags: [
      { name: "params", value: "JSON", about: "a list of the placeholders' values" },
      { name: "limit", value: "N", about: "at most so many rows; project_db.max_rows without" },
      project,
      config,
      json
    ],
    examples: [
      { line: "opencraw db query 'SELECT * FROM orders' --limit 20", about: "as a table" },
      {
        line: "opencraw db query 'SELECT * FROM orders WHERE id = $1' --params '[7]' --json",
        about: "for programs"
      }
    ]
  },
  {
    name: "db execute",
    about: "change the project's own database, by one SQL statement",
    details: "Durable when it is answered; the audit log is told. Without SQL, standard input is read.",
    arguments: [{ name: "SQL", about: "the statement; placeholders are $1, $2", isOptional: true }],
    flags: [
      { name: "params", value: "JSON", about: "a list of the placeholders' values" },
      project,
      config,
      json
    ],
    examples: [
      {
        line: "opencraw db execute 'CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)'",
        about: "a table for the agents that may use the database tools"
      }
    ]
  },
  {
    name: "keys create",
    about: "make an API key of the running gateway, and print it this once",
    details:
      "chat writes as its user and has that user's sessions; read reads everything; admin may do everything. A lost key is revoked and made anew.",
    arguments: [],
    flags: [
      { name: "name", value: "NAME", about: "what you call it; no other key in use has the name" },
      { name: "scope", value: "SCOPES", about: "of chat, read, admin: one, or several with commas between" },
      { name: "user", value: "USER", about: "whom it writes as; its name without" },
      { name: "expires", value: "TIME", about: "such as 90d, 12h or 30min; never without" },
      project,
      config,
      json
    ],
    examples: [
      { line: "opencraw keys create --name ci --scope chat --expires 90d", about: "for a program" },
      { line: "opencraw keys create --name grafana --scope read", about: "for a dashboard" }
    ]
  },
  {
    name: "keys list",
    about: "list API keys: what they may do, whether they are in use, when they were last used",
    arguments: [],
    flags: [project, config, json],
    examples: [{ line: "opencraw keys list", about: "revoked and expired ones too" }]
  },
  {
    name: "keys revoke",
    about: "refuse an API key from now on",
    details: "At once in this gateway, within half a minute in others on the same database.",
    arguments: [one("KEY", "its id or its name, as `keys list` prints them")],
    flags: [project, config, json],
    examples: [{ line: "opencraw keys revoke ci", about: "the one in use of this name" }]
  },
  {
    name: "credentials set",
    about: "keep a credential, encrypted, for a provider that names it in api_key_stored",
    details: "Read from standard input, or asked for on a terminal without showing it. It counts at once.",
    arguments: [one("NAME", "what providers call it")],
    flags: [config, json],
    examples: [
      { line: "opencraw credentials set openai", about: "asks" },
      { line: "pass show openai | opencraw credentials set openai", about: "from a password store" }
    ]
  },
  {
    name: "credentials list",
    about: "list stored credentials, without their value",
    arguments: [],
    flags: [config, json],
    examples: [
      { line: "opencraw credentials list", about: "when each was set, and with which key encrypted" }
    ]
  },
  {
    name: "credentials delete",
    about: "forget a stored credential",
    arguments: [one("NAME", "the credential")],
    flags: [config, json],
    examples: [
      { line: "opencraw credentials delete openai", about: "providers that name it have no key then" }
    ]
  },
  {
    name: "credentials rotate",
    about: "encrypt with the present key what an older one encrypted",
    details:
      "First put the new key before the old one, with a comma between, and restart; afterwards take the old one away.",
    arguments: [],
    flags: [config, json],
    examples: [
      { line: "opencraw credentials rotate", about: "after OPENCRAW_SECRETS_KEY=NEW,OLD and a restart" }
    ]
  },
  {
    name: "audit",
    about: "show who did what to the gateway, newest first",
    arguments: [],
    flags: [
      { name: "action", value: "ACTION", about: "only this, such as key.created" },
      { name: "actor", value: "WHO", about: "only what operator, owner, a key's id or a sender did" },
      { name: "since", value: "TIME", about: "only since so long ago, such as 7d, 12h or 30min" },
      { name: "limit", value: "N", about: "at most so many; 100 without" },
      project,
      config,
      json
    ],
    examples: [
      { line: "opencraw audit --since 7d", about: "of the last week" },
      { line: "opencraw audit --action key.revoked --json", about: "for programs" }
    ]
  },
  {
    name: "completions",
    about: "print the completions of a shell",
    arguments: [{ name: "SHELL", about: "bash, zsh or fish", choices: ["bash", "zsh", "fish"] }],
    flags: [],
    examples: [
      { line: 'eval "$(opencraw completions bash)"', about: "in ~/.bashrc" },
      { line: "opencraw completions fish > ~/.config/fish/completions/opencraw.fish", about: "for fish" }
    ]
  },
  {
    name: "version",
    about: "print the version",
    arguments: [],
    flags: [json],
    examples: [{ line: "opencraw --version", about: "the same" }]
  }
]

/** The commands that begin with these words: `sessions` has four, `lanes` is one of five. */
export const below = (words: ReadonlyArray<string>): ReadonlyArray<Command> => {
  const prefix = words.join(" ")
  return prefix === ""
    ? commands
    : commands.filter(({ name }) => name === prefix || name.startsWith(`${prefix} `))
}
