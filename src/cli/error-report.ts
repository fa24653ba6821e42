// How an error looks: for a person, lines on stderr; with --json, one document on stdout.
import type { MosError } from "../errors/mos-error.ts";
import { escapeControls, jsonText, paint } from "./output.ts";
import type { Terminal } from "./terminal.ts";

/** Lines of the stack that a report of a defect needs. */
const stackLines = 6;

/** Each line of a text from outside, escaped, under an indentation. */
function indented(label: string, text: string): readonly string[] {
  const [first = "", ...rest] = text.split("\n").map(escapeControls);
  return [`  ${label}${first}`, ...rest.map((line) => `  ${" ".repeat(label.length)}${line}`)];
}

function stackOf(error: MosError): readonly string[] {
  const thrown = error.cause instanceof Error ? error.cause : error;
  const lines = (thrown.stack ?? "").split("\n").filter((line) => line.trimStart().startsWith("at "));
  return lines.slice(0, stackLines).map((line) => `  ${escapeControls(line.trim())}`);
}

/** Prints an error; the code comes last, where a person who searches for it looks. */
export function reportError(terminal: Terminal, error: MosError, json: boolean): void {
  if (json) {
    terminal.stdout.write(jsonText({ error: error.toDocument() }));
    return;
  }
  const { stderr } = terminal;
  const [first = "", ...more] = error.message.split("\n").map(escapeControls);
  const lines = [
    `${paint(stderr, "red", paint(stderr, "bold", "error:"))} ${first}`,
    ...more.map((line) => `  ${line}`),
    ...(error.about === undefined ? [] : indented("about: ", error.about)),
    ...error.problems.flatMap((problem) => indented("- ", problem)),
    ...(error.code === "internal" ? stackOf(error) : []),
    ...indented("hint: ", error.hint),
    paint(stderr, "dim", `  code: ${error.code}`),
  ];
  stderr.write(`${lines.join("\n")}\n`);
}
