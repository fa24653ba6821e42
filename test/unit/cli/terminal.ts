// A terminal that remembers what was written, for running a CLI inside a test.
import type { Terminal } from "../../../src/cli/terminal.ts";

export interface Recorded extends Terminal {
  readonly out: () => string;
  readonly err: () => string;
}

export function recordingTerminal(
  env: Record<string, string> = {},
  look: { readonly isTerminal?: boolean; readonly hasColor?: boolean } = {},
): Recorded {
  const written = { stdout: "", stderr: "" };
  const stream = (name: "stdout" | "stderr") => ({
    write: (text: string) => {
      written[name] += text;
    },
    isTerminal: look.isTerminal ?? false,
    hasColor: look.hasColor ?? false,
    columns: 80,
  });
  return {
    stdout: stream("stdout"),
    stderr: stream("stderr"),
    env,
    out: () => written.stdout,
    err: () => written.stderr,
  };
}
