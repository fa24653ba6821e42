// Where a command's words go. Colour only for a person who looks: the stream is a terminal and NO_COLOR is
// unset (no-color.org). A reader that went away (`| head`) ends nothing: what is written to it is dropped.
import { systemCode } from "../errors/mos-error.ts";

export interface OutputStream {
  readonly write: (text: string) => void;
  readonly isTerminal: boolean;
  readonly hasColor: boolean;
  readonly columns: number;
}

export interface Terminal {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly env: Readonly<Record<string, string | undefined>>;
}

type Environment = Terminal["env"];

const defaultColumns = 80;

function openStream(stream: NodeJS.WriteStream, env: Environment): OutputStream {
  stream.on("error", (error: unknown) => {
    if (systemCode(error) !== "EPIPE") throw error;
  });
  const isTerminal = stream.isTTY === true;
  const noColor = env["NO_COLOR"];
  return {
    write: (text) => {
      if (stream.writable) stream.write(text);
    },
    isTerminal,
    hasColor: isTerminal && (noColor === undefined || noColor === "") && env["TERM"] !== "dumb",
    columns: isTerminal ? stream.columns : defaultColumns,
  };
}

/** The terminal of this process. */
export function openTerminal(): Terminal {
  const { env } = process;
  return { stdout: openStream(process.stdout, env), stderr: openStream(process.stderr, env), env };
}
