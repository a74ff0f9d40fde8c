/** What `Inbound` and the log refuse, in the words of HTTP and of the socket. */
import { nameOf, type SessionKey } from "#src/domain/SessionKey.ts"
import type { CentralError } from "#src/horizons/CentralDb.ts"
import type { LogError } from "#src/horizons/MessageLog.ts"
import type { ProjectDbError } from "#src/horizons/ProjectDb.ts"
import type { SecretsError } from "#src/horizons/Secrets.ts"
import type { Refusal } from "#src/inbound/Inbound.ts"
import { ApiError, notFound, storeUnavailable } from "./ApiError.ts"

/** Nothing was stored, so unlike answers after acceptance these may be retried by the client itself. */
export const toApiError = (refusal: Refusal): ApiError => {
  switch (refusal._tag) {
    case "LaneFull":
      return new ApiError({
        status: 429,
        code: "lane_full",
        message: refusal.message,
        retryAfterMillis: refusal.retryAfterMillis
      })
    case "IdReused":
      return new ApiError({
        status: 422,
        code: "id_reused",
        message: refusal.message,
        details: { message_id: refusal.messageId }
      })
    case "MessageRejected":
      return new ApiError({
        status: 400,
        code: "invalid_message",
        message: refusal.message,
        param: refusal.param
      })
    case "NotAccepting":
      return new ApiError({
        status: 503,
        code: refusal.code,
        message: refusal.message,
        retryAfterMillis: refusal.retryAfterMillis
      })
  }
}

/** The `refused` frame's fields, besides the client's id. */
export const toFrame = (refusal: Refusal): { code: string; message: string; retry_after_ms?: number } => {
  switch (refusal._tag) {
    case "LaneFull":
      return { code: "lane_full", message: refusal.message, retry_after_ms: refusal.retryAfterMillis }
    case "IdReused":
      return { code: "id_reused", message: refusal.message }
    case "MessageRejected":
      return { code: "invalid_message", message: refusal.message }
    case "NotAccepting":
      return { code: refusal.code, message: refusal.message, retry_after_ms: refusal.retryAfterMillis }
  }
}

/** What the log refuses of a request that sends no message. */
export const logRefusal = (reason: LogError["reason"]): ApiError => {
  switch (reason._tag) {
    case "NoSuchSession":
      return notFound(reason.message)
    case "NoSuchTurn":
      return new ApiError({
        status: 404,
        code: "no_such_turn",
        message: reason.message,
        ...(reason.seq === undefined ? {} : { param: "at" })
      })
    case "SessionTaken":
      return new ApiError({
        status: 409,
        code: "session_taken",
        message: reason.message,
        param: "session_key"
      })
    case "SessionShared":
      return new ApiError({
        status: 409,
        code: "session_shared",
        message: reason.message,
        details: { forks: reason.forks.map((fork) => nameOf(fork as SessionKey)) }
      })
    default:
      return storeUnavailable(false)
  }
}

const conflict = (code: string, message: string, param?: string) =>
  new ApiError({ status: 409, code, message, ...(param === undefined ? {} : { param }) })

/** What is refused of organisations, projects, users, agents, keys and credentials. */
export const centralRefusal = ({ reason }: CentralError): ApiError => {
  switch (reason._tag) {
    case "KeyNameTaken":
      return conflict("key_name_taken", reason.message, "name")
    case "KeyRevoked":
      return conflict("already_revoked", reason.message)
    case "CredentialChanged":
      return conflict("credential_changed", reason.message)
    case "OrgExists":
      return conflict("org_exists", reason.message, "org")
    case "ProjectExists":
      return conflict("project_exists", reason.message, "project")
    case "UserExists":
      return conflict("user_exists", reason.message, "id")
    case "UserDisabled":
      return conflict("user_disabled", reason.message, "user")
    case "RoleTooLow":
      return conflict("role_too_low", reason.message, "scopes")
    case "AgentChanged":
      return conflict("agent_changed", reason.message)
    case "NoSuchAgent":
    case "NoSuchKey":
    case "NoSuchCredential":
    case "NoSuchOrg":
    case "NoSuchProject":
    case "NoSuchUser":
      return notFound(reason.message)
    case "StoreFull":
    case "StoreBroken":
    case "StoreBusy":
      return storeUnavailable(false)
  }
}

/** What a project's database refuses. */
export const projectDbRefusal = ({ reason }: ProjectDbError): ApiError => {
  const { message } = reason
  switch (reason._tag) {
    case "SqlRefused":
      return new ApiError({
        status: 400,
        code: "sql_refused",
        message,
        details: { statement: reason.statement }
      })
    case "SqlTooLong":
      return new ApiError({ status: 422, code: "sql_too_long", message })
    case "SqlTooBig":
      return new ApiError({ status: 422, code: "sql_too_big", message })
    case "ProjectDbFull":
      return new ApiError({ status: 507, code: "database_full", message })
    case "SqlUncertain":
      return new ApiError({ status: 500, code: "sql_uncertain", message })
    case "NoProjectDb":
      return conflict("no_project_db", message)
    case "StoreFull":
    case "StoreBroken":
    case "StoreBusy":
      return storeUnavailable(false)
  }
}

export const secretsRefusal = ({ reason }: SecretsError): ApiError =>
  conflict(reason._tag === "NoSecretsKey" ? "no_secrets_key" : "credential_unreadable", reason.message)
