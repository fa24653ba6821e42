import { expect, test, vi } from "vitest";
import { startProgress } from "../../../src/cli/progress.ts";
import { recordingTerminal } from "./terminal.ts";

const work = { what: "fetching", unit: "bytes", json: false } as const;

test("long work says a line where no bar can be drawn, and nothing that it is told could break the line", async () => {
  const terminal = recordingTerminal();
  const progress = startProgress(terminal, work);
  progress.update(1024 * 1024, 150 * 1024 * 1024, "zot\n\u001b[2J");
  await vi.waitFor(() => expect(terminal.err()).not.toBe(""), { timeout: 8000 });
  progress.update(2, undefined, "");
  progress.stop();
  expect(terminal.err()).toMatch(/^fetching: 1 MiB of 150 MiB \(zot\\n\\x1b\[2J\), after \d[^\n]*\n$/);
  expect(terminal.out()).toBe("");
});

test("short work, and any work with --json, shows nothing", async () => {
  const [short, json] = [recordingTerminal(), recordingTerminal()];
  const ended = startProgress(short, work);
  ended.update(1, 2, "");
  ended.stop();
  const quiet = startProgress(json, { ...work, json: true });
  // As long as another one takes to show itself.
  const other = recordingTerminal();
  const shown = startProgress(other, work);
  await vi.waitFor(() => expect(other.err()).not.toBe(""), { timeout: 8000 });
  shown.stop();
  quiet.update(1, 2, "");
  quiet.stop();
  expect(short.err() + json.err() + json.out()).toBe("");
});
