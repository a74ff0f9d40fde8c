import { defineConfig } from "vitest/config"

// `npm run test:long` runs what is too long for every change, and only that.
const long = process.env["OPENCRAW_TEST_LONG"] === "1"

export default defineConfig({
  test: {
    include: [long ? "test/long/**/*.test.ts" : "test/**/*.test.ts"],
    exclude: long ? [] : ["test/long/**"],
    globalSetup: ["test/postgres/globalSetup.ts"],
    // Never a matter of speed: only what hangs comes to its end by this.
    testTimeout: long ? 3_600_000 : 60_000,
    hookTimeout: 60_000
  }
})
