// What a service wrote, for a caller of the socket: a line of JSON for each entry of the journal.
import { finished, pipeline } from "node:stream/promises";
import * as z from "zod";
import { runPiped } from "../system/process.ts";
import type { ServiceManager } from "../systemd/manager.ts";
import type { LogEntry } from "./api.ts";
import { inPlace } from "./outside.ts";
import { knownUnit } from "./service-action.ts";

export interface LogsRequest {
  readonly service: string;
  readonly lines?: number | undefined;
  /** RFC 3339. */
  readonly since?: Date | undefined;
  readonly follow: boolean;
}

/** systemd.journal-fields(7), Journal JSON Format: text, or an array of bytes where it is no UTF-8. */
const entrySchema = z.object({
  __REALTIME_TIMESTAMP: z.string().regex(/^[0-9]{1,19}$/),
  PRIORITY: z.string().optional(),
  MESSAGE: z.union([z.string(), z.array(z.int().min(0).max(255)), z.null()]).optional(),
});

/** Longest line of the journal that is read, bytes: a larger one is somebody's mistake, and is left out. */
const maxLine = 1024 * 1024;

/** Reads one entry as journalctl writes it; undefined for what has no text. */
export function readEntry(line: string): LogEntry | undefined {
  const {
    __REALTIME_TIMESTAMP: time,
    PRIORITY: priority,
    MESSAGE: message,
  } = entrySchema.parse(JSON.parse(line));
  if (message === undefined || message === null) return undefined;
  return {
    time: new Date(Number(time) / 1000).toISOString(),
    ...(priority === undefined ? {} : { priority: Number(priority) }),
    message: typeof message === "string" ? message : Buffer.from(message).toString("utf8"),
  };
}

async function* linesOf(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let rest = Buffer.alloc(0);
  let isTooLong = false;
  for await (const piece of pieces) {
    rest = Buffer.concat([rest, piece]);
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      if (!isTooLong) yield rest.subarray(0, end).toString("utf8");
      isTooLong = false;
      rest = rest.subarray(end + 1);
    }
    if (rest.length <= maxLine) continue;
    isTooLong = true;
    rest = Buffer.alloc(0);
  }
}

/**
 * Writes the entries of this boot, the oldest first; with `follow` until the caller goes away.
 * @param begin is called when it is sure that there is an answer
 * @throws MosError `service-unknown`, `busy`, `program-failed`
 */
export async function writeLogs(
  systemd: ServiceManager,
  { service, lines, since, follow }: LogsRequest,
  to: NodeJS.WritableStream,
  begin: () => void,
): Promise<void> {
  const unit = await knownUnit(systemd, service);
  await inPlace(`show what ${service} wrote`, async () => {
    const journal = await runPiped("journalctl", [
      ...["--boot", "--no-pager", "--quiet", "--all", "--output=json", "--output-fields=MESSAGE,PRIORITY"],
      `--unit=${unit}`,
      ...(follow ? ["--follow"] : []),
      ...(since === undefined ? [] : [`--since=@${since.getTime() / 1000}`]),
      `--lines=${lines ?? "all"}`,
    ]);
    journal.stdin.end();
    // A caller that has gone reads nothing any more; without it journalctl would wait for the next entry.
    void finished(to)
      .catch(() => undefined)
      .finally(journal.kill);
    begin();
    const entries = async function* () {
      for await (const line of linesOf(journal.stdout)) {
        const entry = readEntry(line);
        if (entry !== undefined) yield `${JSON.stringify(entry)}\n`;
      }
      await journal.ended;
    };
    try {
      await pipeline(entries, to);
    } finally {
      journal.kill();
    }
  });
}
