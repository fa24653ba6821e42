import { defineConfig } from "vitest/config";

// Lanes (docs/testing.md): `unit` needs nothing but this checkout; `integration` runs real programs of the
// host (registry, skopeo, veritysetup, openssl); `machine` boots a real kernel and is slow on purpose;
// `powercut` takes its power away, again and again; `secure` boots
// it from firmware with Secure Boot and a TPM, and is slower.
export default defineConfig({
  test: {
    projects: [
      // Two files at a time where vitest by itself would run one: a machine with two processors is what CI has.
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          maxWorkers: 2,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // Some wait for time limits.
          maxWorkers: 3,
        },
      },
      {
        test: {
          name: "crash",
          include: ["test/crash/**/*.test.ts"],
          setupFiles: ["test/crash/setup.ts"],
          maxWorkers: 2,
          testTimeout: 600_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: "machine",
          include: ["test/machine/**/*.test.ts"],
          testTimeout: 600_000,
          hookTimeout: 900_000,
          // A guest has one processor, and waits for much of its time.
          maxWorkers: 3,
        },
      },
      {
        test: {
          name: "powercut",
          include: ["test/powercut/**/*.test.ts"],
          // For campaigns of hundreds; each wait in it has a limit of its own.
          testTimeout: 24 * 3_600_000,
          hookTimeout: 900_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "secure",
          include: ["test/secure/**/*.test.ts"],
          testTimeout: 900_000,
          hookTimeout: 900_000,
          // Two at a time take twice as long each (measured), and come near the guests' time limits.
          fileParallelism: false,
        },
      },
    ],
  },
});
