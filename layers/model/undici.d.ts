/** Only the dispatcher is needed: the package's barrel is a fifth of the bundle and takes 50 ms of each start. */
declare module "undici/lib/dispatcher/agent.js" {
  import type * as undici from "undici"
  const Agent: typeof undici.Agent
  export default Agent
}
