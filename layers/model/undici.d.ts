/** Only the dispatcher is needed: the package's barrel is a fifth of the bundle and is loaded at each start. */
declare module "undici/lib/dispatcher/agent.js" {
  const Agent: typeof import("undici").Agent
  export default Agent
}
