import { defineConfig } from "vitest/config";

export default defineConfig({
  // The tests read the built addon and dist/, so each file gets a process of its own.
  test: { include: ["test/**/*.test.ts"], pool: "forks", testTimeout: 60_000, hookTimeout: 60_000 },
});
