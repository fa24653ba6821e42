// What is wrong with one service, for a person: the reason, what it is about, and what to do.
import type { ErrorDocument } from "../../errors/mos-error.ts";
import { escapeControls, paint } from "../output.ts";
import type { OutputStream } from "../terminal.ts";

/** A few lines that end in a newline. */
export function problemText(stdout: OutputStream, name: string, error: ErrorDocument): string {
  const lines = [
    `${paint(stdout, "red", "✗")} ${escapeControls(name)}: ${escapeControls(error.message)}`,
    ...(error.about === undefined ? [] : [`    about: ${escapeControls(error.about)}`]),
    ...(error.problems ?? []).map((line) => `    ${escapeControls(line)}`),
    `    hint: ${escapeControls(error.hint)}`,
    `    code: ${error.code}`,
  ];
  return `${lines.join("\n")}\n`;
}
