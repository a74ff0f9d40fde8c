/** The shapes of our own API, as documented and as the page reads them. Keys are snake_case on the wire. */
import * as Schema from "effect/Schema"
import { ApprovalState } from "#src/domain/Approval.ts"
import { AuditAction, AuditDetail } from "#src/domain/AuditEvent.ts"
import { JournalRecord } from "#src/domain/JournalRecord.ts"
import { MediaType } from "#src/domain/Image.ts"
import { Outcome, Failure } from "#src/domain/Outcome.ts"
import { ProjectAgentSchema } from "#src/agent/ProjectAgents.ts"
import { Role, Scope } from "#src/domain/Scope.ts"

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

export const ErrorBody = Schema.Struct({
  error: Schema.Struct({
    message: Schema.String,
    type: Schema.String,
    code: Schema.String,
    param: Schema.optionalKey(Schema.String),
    details: Schema.optionalKey(Schema.Unknown),
    request_id: Schema.String
  })
}).annotate({ identifier: "Error", description: "Every refusal and failure has this one body" })

const ImageNote = Schema.Struct({ media_type: MediaType, bytes: Count })

export const Session = Schema.Struct({
  session_key: Schema.String,
  agent: Schema.String,
  /** Absent until somebody named it. */
  title: Schema.optionalKey(Schema.String),
  /** How its first message begins. */
  opening: Schema.optionalKey(Schema.String),
  /** Of a fork: the session in which the last turn that it shares was said, and the seq of that answer. */
  forked_from: Schema.optionalKey(Schema.Struct({ session_key: Schema.String, seq: Count })),
  seq: Count,
  open: Count,
  created_at: Schema.Finite,
  updated_at: Schema.Finite
}).annotate({ identifier: "Session" })

export const TranscriptMessage = Schema.Struct({
  id: Schema.String,
  seq: Count,
  role: Schema.Literals(["user", "assistant", "system"]),
  content: Schema.String,
  /** The images that came with it. */
  images: Schema.optionalKey(Schema.Array(ImageNote)),
  client_id: Schema.optionalKey(Schema.String),
  answers: Schema.optionalKey(Schema.Array(Schema.String)),
  partial: Schema.optionalKey(Schema.String),
  /** The tools its run used, in order. */
  tools: Schema.optionalKey(Schema.Array(Schema.Struct({ name: Schema.String, status: Schema.String }))),
  /** True on a user's message that has no outcome yet; absent otherwise. */
  open: Schema.optionalKey(Schema.Boolean),
  created_at: Schema.Finite
}).annotate({ identifier: "TranscriptMessage" })

export const RenameSession = Schema.Struct({
  title: Schema.String
}).annotate({ identifier: "RenameSession" })

export const ForkSession = Schema.Struct({
  /** The seq of any entry of the turn to fork behind; without, the last answered turn. */
  at: Schema.optionalKey(Count),
  /** The fork's key; without, one is made. */
  session_key: Schema.optionalKey(Schema.String)
}).annotate({ identifier: "ForkSession" })

export const Forked = Schema.Struct({
  session_key: Schema.String,
  /** Of the answer that the fork begins behind. */
  seq: Count
}).annotate({ identifier: "Forked" })

export const Step = Schema.Struct({
  step: Schema.Literals(["accepted", "run_started", "model", "tool", "slow", "run_ended", "sent"]),
  at: Schema.Finite,
  /** Since the message was accepted, ms. */
  ms: Schema.Finite,
  name: Schema.optionalKey(Schema.String),
  status: Schema.optionalKey(Schema.String),
  tokens: Schema.optionalKey(Schema.Struct({ input: Count, output: Count, estimated: Schema.Boolean })),
  /** Millionths of a US dollar; absent when the model's price is not known. */
  cost_usd_micros: Schema.optionalKey(Count)
}).annotate({ identifier: "TimelineStep" })

export const UsageSum = Schema.Struct({
  /** A day (UTC), a name, or empty: what a deleted session or its senders spent, and the total. */
  key: Schema.String,
  calls: Count,
  /** Calls whose provider did not say what it counted. */
  estimated_calls: Count,
  input_tokens: Count,
  output_tokens: Count,
  cached_tokens: Count,
  /** Millionths of a US dollar, of the calls whose price is known; absent when there is none. */
  cost_usd_micros: Schema.optionalKey(Count),
  unpriced_calls: Count
}).annotate({ identifier: "UsageSum" })

export const UsageReport = Schema.Struct({
  by: Schema.Literals(["total", "day", "agent", "session", "sender", "model"]),
  since: Schema.String,
  until: Schema.optionalKey(Schema.String),
  usage: Schema.Array(UsageSum),
  total: Schema.optionalKey(UsageSum),
  /** The day of the built-in prices. */
  priced_on: Schema.String
}).annotate({ identifier: "UsageReport" })

export const MessageStatus = Schema.Struct({
  id: Schema.String,
  session_key: Schema.String,
  seq: Count,
  client_id: Schema.String,
  state: Schema.Literals(["queued", "running", "ended"]),
  outcome: Schema.optionalKey(Outcome),
  by: Schema.optionalKey(Schema.String),
  failure: Schema.optionalKey(Failure),
  attempts: Count,
  /** Messages that its run answers together, this one included, oldest first. */
  queue_collected_messages: Schema.optionalKey(Schema.Array(Schema.String)),
  /** Messages that had been dropped, and that its run was told of. */
  queue_dropped_messages: Schema.optionalKey(Schema.Array(Schema.String)),
  timeline: Schema.Array(Step)
}).annotate({ identifier: "MessageStatus" })

export const SendMessage = Schema.Struct({
  session_key: Schema.String,
  content: Schema.String,
  id: Schema.optionalKey(Schema.String),
  sender_id: Schema.optionalKey(Schema.String),
  /** Of png, jpeg, gif or webp, each as a data: URL of base64. */
  images: Schema.optionalKey(Schema.Array(Schema.String))
}).annotate({ identifier: "SendMessage" })

export const SentMessage = Schema.Struct({
  message_id: Schema.String,
  seq: Count,
  duplicate: Schema.Boolean
}).annotate({ identifier: "SentMessage" })

export const Channel = Schema.Struct({
  name: Schema.String,
  delivery: Schema.Literals(["keyed", "probe", "blind"]),
  max_chars: Count
}).annotate({ identifier: "Channel" })

export const Lane = Schema.Struct({
  session_key: Schema.String,
  /** Whose share of runs at once it takes part in. */
  budget: Schema.Literals(["main", "subagent", "cron"]),
  phase: Schema.Literals(["idle", "running", "parked", "waiting"]),
  /** It starts nothing until it is resumed. */
  paused: Schema.Boolean,
  /** Another node has it; what is told of it is what the log says. */
  elsewhere: Schema.optionalKey(Schema.Literal(true)),
  /** Messages that wait. */
  depth: Count,
  /** When the oldest message was accepted that waits or is being answered. */
  oldest_at: Schema.optionalKey(Schema.Finite),
  /** The run under way, once it has begun. */
  run: Schema.optionalKey(
    Schema.Struct({
      id: Schema.String,
      attempt: Count,
      began_at: Schema.Finite,
      /** From 1. */
      step: Count,
      /** At work now. */
      tools: Schema.Array(Schema.String),
      /** Told of a run that goes on for long, makes no progress, or is begun again for that. */
      stall: Schema.optionalKey(Schema.Literals(["long", "stalled", "stuck"]))
    })
  ),
  /** Runs that were told to stop and have not. */
  fenced: Count,
  /** What its model call under way may cost at most, in millionths of a US dollar; absent where that is not known. */
  may_cost_usd_micros: Schema.optionalKey(Count)
}).annotate({ identifier: "Lane" })

export const Journal = Schema.Struct({
  records: Schema.Array(JournalRecord),
  /** Where to go on; absent at the end. */
  next: Schema.optionalKey(Count)
}).annotate({ identifier: "Journal" })

export const Lanes = Schema.Struct({
  /** No session starts anything until all are resumed. */
  paused: Schema.Boolean,
  /** Of the node that answers, and of others those that have something to do, up to a thousand of their messages in each project. */
  lanes: Schema.Array(Lane),
  /** Where several gateways share a database: who is there, and how many of the 256 buckets of sessions each has. */
  nodes: Schema.optionalKey(
    Schema.Array(
      Schema.Struct({
        id: Schema.String,
        /** The node that answers. */
        this: Schema.Boolean,
        buckets: Count
      })
    )
  )
}).annotate({ identifier: "Lanes" })

/** What `/ws/lanes` tells. */
export const LanesFrame = Schema.Struct({
  type: Schema.Literal("lanes"),
  paused: Schema.Boolean,
  /** How many lanes there are; a frame holds some hundreds at most, those with the oldest message first. */
  total: Count,
  lanes: Schema.Array(Lane)
})

export const Approval = Schema.Struct({
  id: Schema.String,
  session_key: Schema.String,
  run_id: Schema.String,
  tool: Schema.String,
  /** Raw JSON text, as the model wrote it. */
  arguments: Schema.String,
  state: ApprovalState,
  created_at: Schema.Finite,
  /** When it counts as refused. */
  expires_at: Schema.Finite
}).annotate({ identifier: "Approval" })

export const DecideApproval = Schema.Struct({
  decision: Schema.Literals(["approve", "deny"])
}).annotate({ identifier: "DecideApproval" })

export const DecidedApproval = Schema.Struct({
  state: ApprovalState
}).annotate({ identifier: "DecidedApproval" })

export const Check = Schema.Struct({
  name: Schema.String,
  status: Schema.Literals(["ok", "warning", "failed"]),
  message: Schema.String
}).annotate({ identifier: "Check" })

/** A model that an agent or an alias names. */
export const Model = Schema.Struct({
  /** `provider/model`. */
  model: Schema.String,
  /** Agents that answer with it first. */
  first_of: Schema.Array(Schema.String),
  /** Agents that answer with it when others cannot. */
  fallback_of: Schema.Array(Schema.String),
  aliases: Schema.Array(Schema.String),
  /** `resting`: it is not asked now, with none of its credentials. */
  state: Schema.Literals(["ready", "resting"])
}).annotate({ identifier: "Model" })

/** A credential or a model that is left alone after failures. */
export const Resting = Schema.Struct({
  provider: Schema.String,
  /** Absent when the credential rests for all models. */
  model: Schema.optionalKey(Schema.String),
  /** Absent for the provider's own key. */
  profile: Schema.optionalKey(Schema.String),
  /** `disabled`: its account is out of money. */
  state: Schema.Literals(["cooling", "disabled"]),
  reason: Schema.String,
  until: Schema.String
}).annotate({ identifier: "Resting" })

export const Me = Schema.Struct({
  principal: Schema.Struct({
    id: Schema.String,
    admin: Schema.Boolean,
    scopes: Schema.Array(Scope),
    /** The API key that was shown. */
    key_id: Schema.optionalKey(Schema.String),
    /** `org/project` that it acts in; absent for `local/default`. */
    project: Schema.optionalKey(Schema.String),
    senders: Schema.Union([Schema.Literal("*"), Schema.Array(Schema.String)])
  }),
  model: Schema.String,
  demo: Schema.Boolean,
  setting: Schema.optionalKey(Schema.String),
  /**
   * Told to an admin while the demo answers and no file was found at the start. `offered`: `POST /api/v1/os/setup` writes one.
   * `restart`: there is one by now, and it counts after a restart.
   */
  setup: Schema.optionalKey(Schema.Literals(["offered", "restart"]))
}).annotate({ identifier: "Me" })

export const SetUp = Schema.Struct({
  /** `provider/model`. */
  model: Schema.String,
  /** The provider's key; without, the variable that usually holds it must be set where the gateway runs. */
  api_key: Schema.optionalKey(Schema.String),
  /** The address of a provider that is not built in. */
  base_url: Schema.optionalKey(Schema.String),
  channel: Schema.optionalKey(Schema.Literal("webchat"))
}).annotate({ identifier: "SetUp" })

export const SetUpDone = Schema.Struct({
  /** The file that was written. */
  file: Schema.String,
  model: Schema.String,
  /** What to do for it to count. */
  next: Schema.String
}).annotate({ identifier: "SetUpDone" })

/** The `after` of the next page. */
const next = Schema.optionalKey(Schema.String)

export const Org = Schema.Struct({
  org: Schema.String,
  name: Schema.String,
  /** 0 for one that is older than the list of them. */
  created_at: Count
}).annotate({ identifier: "Org" })
export const Orgs = Schema.Struct({ orgs: Schema.Array(Org), next }).annotate({ identifier: "Orgs" })
export const NewOrg = Schema.Struct({
  org: Schema.String,
  /** For people; the short one without. */
  name: Schema.optionalKey(Schema.String)
}).annotate({ identifier: "NewOrg" })

export const Project = Schema.Struct({
  /** `org/project`. */
  project: Schema.String,
  name: Schema.String,
  created_at: Count
}).annotate({ identifier: "Project" })
export const Projects = Schema.Struct({ projects: Schema.Array(Project), next }).annotate({
  identifier: "Projects"
})
export const NewProject = Schema.Struct({
  project: Schema.String,
  name: Schema.optionalKey(Schema.String)
}).annotate({ identifier: "NewProject" })

export const User = Schema.Struct({
  id: Schema.String,
  /** The most that their keys may do: `viewer` read, `member` chat too, `admin` everything. */
  role: Role,
  email: Schema.optionalKey(Schema.String),
  created_at: Count,
  disabled_at: Schema.optionalKey(Count)
}).annotate({ identifier: "User" })
export const Users = Schema.Struct({ users: Schema.Array(User), next }).annotate({ identifier: "Users" })
export const NewUser = Schema.Struct({
  id: Schema.String,
  /** `member` without. */
  role: Schema.optionalKey(Role),
  email: Schema.optionalKey(Schema.String)
}).annotate({ identifier: "NewUser" })
/** One of the two. */
export const UserChange = Schema.Struct({
  role: Schema.optionalKey(Role),
  disabled: Schema.optionalKey(Schema.Boolean)
}).annotate({ identifier: "UserChange" })

export const ProjectAgent = Schema.Struct({
  name: Schema.String,
  /** As they were given. */
  settings: Schema.Record(Schema.String, Schema.Unknown),
  revision: Count,
  created_at: Count,
  updated_at: Count
}).annotate({ identifier: "ProjectAgent" })
export const ProjectAgents = Schema.Struct({ agents: Schema.Array(ProjectAgent), next }).annotate({
  identifier: "ProjectAgents"
})
export const SetAgent = Schema.Struct({
  name: Schema.String,
  /** Those of `[agents.<name>]` but the workspace. */
  settings: ProjectAgentSchema,
  /** Only if it still is this one, 0 for none; whatever it is without. */
  revision: Schema.optionalKey(Count)
}).annotate({ identifier: "SetAgent" })
export const AgentSet = Schema.Struct({ name: Schema.String, revision: Count }).annotate({
  identifier: "AgentSet"
})

const sqlStatement = {
  /** One statement; placeholders are `$1`, `$2` and so on. */
  sql: Schema.String,
  /** Strings, numbers, booleans and nulls; a list or an object is stored as JSON text. */
  params: Schema.optionalKey(Schema.Array(Schema.Json))
}
export const SqlQuery = Schema.Struct({
  ...sqlStatement,
  /** At most `project_db.max_rows`, which it is without. */
  max_rows: Schema.optionalKey(Count)
}).annotate({ identifier: "SqlQuery" })
export const SqlRows = Schema.Struct({
  columns: Schema.Array(Schema.String),
  /**
   * Values in the order of the columns. Whole numbers beyond 2^53, and decimals of PostgreSQL, are text; bytes are `\\x` and hex digits.
   */
  rows: Schema.Array(Schema.Array(Schema.Json)),
  /** False when there are more. */
  is_all: Schema.Boolean
}).annotate({ identifier: "SqlRows" })
export const SqlExecute = Schema.Struct({
  statements: Schema.Array(Schema.Struct(sqlStatement))
}).annotate({ identifier: "SqlExecute" })
export const SqlChanges = Schema.Struct({
  /** How many rows each statement changed. */
  changes: Schema.Array(Count)
}).annotate({ identifier: "SqlChanges" })

export const NewApiKey = Schema.Struct({
  /** What people call it; unique among the keys that are not revoked. */
  name: Schema.String,
  /** `chat`: write as its user and use that user's own sessions. `read`: read everything. `admin`: everything. */
  scopes: Schema.Array(Scope),
  /** Whom it writes as; its name without. */
  user: Schema.optionalKey(Schema.String),
  /** Ms since the epoch; it does not expire without. */
  expires_at: Schema.optionalKey(Schema.Finite)
}).annotate({ identifier: "NewApiKey" })

export const ApiKey = Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  user: Schema.String,
  scopes: Schema.Array(Scope),
  state: Schema.Literals(["active", "expired", "revoked", "disabled"]),
  created_at: Schema.Finite,
  expires_at: Schema.optionalKey(Schema.Finite),
  revoked_at: Schema.optionalKey(Schema.Finite),
  /** Within ten minutes; absent for a key that was never used. */
  last_used_at: Schema.optionalKey(Schema.Finite)
}).annotate({ identifier: "ApiKey" })

export const MadeApiKey = Schema.Struct({
  /** Told this once. */
  key: Schema.String,
  api_key: ApiKey
}).annotate({ identifier: "MadeApiKey" })

export const ApiKeys = Schema.Struct({
  keys: Schema.Array(ApiKey),
  /** The `after` of the next page. */
  next: Schema.optionalKey(Schema.String)
}).annotate({ identifier: "ApiKeys" })

export const SetCredential = Schema.Struct({
  name: Schema.String,
  value: Schema.String
}).annotate({ identifier: "SetCredential" })

export const Credential = Schema.Struct({
  name: Schema.String,
  /** The key that it is encrypted with. */
  key_id: Schema.String,
  created_at: Schema.Finite,
  updated_at: Schema.Finite
}).annotate({ identifier: "Credential" })

export const Credentials = Schema.Struct({
  credentials: Schema.Array(Credential),
  /** The `after` of the next page. */
  next: Schema.optionalKey(Schema.String)
}).annotate({ identifier: "Credentials" })

export const Rotated = Schema.Struct({
  /** How many were encrypted anew. */
  rotated: Count
}).annotate({ identifier: "Rotated" })

export const AuditEvent = Schema.Struct({
  id: Schema.String,
  at: Schema.Finite,
  /** `operator`, `owner`, the id of a key, a sender in a chat, or `nobody`. */
  actor: Schema.String,
  action: AuditAction,
  /** An id, a name or a session key; empty for the gateway itself. */
  subject: Schema.String,
  detail: AuditDetail
}).annotate({ identifier: "AuditEvent" })

export const AuditPage = Schema.Struct({
  events: Schema.Array(AuditEvent),
  /** The `before` of the next page. */
  next: Schema.optionalKey(Schema.String)
}).annotate({ identifier: "AuditPage" })
