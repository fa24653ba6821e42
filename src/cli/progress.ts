// Progress of work that takes longer than a person likes to wait without a word: a bar on a terminal, a plain
// line now and then elsewhere (so that a log shows it is alive), nothing with --json.
import { formatBytes, formatDuration } from "../system/quantity.ts";
import { escapeControls } from "./output.ts";
import type { Terminal } from "./terminal.ts";

/** Work that ends sooner shows nothing (milliseconds). */
const showAfterMs = 2000;
/** Between plain lines where no bar can be drawn (milliseconds). */
const lineEveryMs = 10_000;
const barColumns = 24;

interface ProgressOptions {
  /** What is being done, as the sentence begins: `making keys`. */
  readonly what: string;
  readonly unit: "bytes" | "items";
  /** With --json nothing is shown. */
  readonly json: boolean;
}

/** How far the work is. */
interface State {
  readonly done: number;
  /** Undefined while it is not known. */
  readonly total: number | undefined;
  /** What it is at, in few words. */
  readonly detail: string;
}

export interface Progress {
  readonly update: (done: number, total: number | undefined, detail: string) => void;
  /** Ends it and wipes the bar. To be called in every case, an error too. */
  readonly stop: () => void;
}

/** One way to show a state. */
interface Display {
  readonly show: (state: State) => void;
  readonly close: () => void;
}

function amountOf({ done, total }: State, unit: ProgressOptions["unit"]): string {
  const text = (count: number): string => (unit === "bytes" ? formatBytes(count) : `${count}`);
  return total === undefined ? text(done) : `${text(done)} of ${text(total)}`;
}

/** A bar that redraws one line of stderr; cli-progress is loaded only when there is something to draw. */
async function openBar({ what, unit }: ProgressOptions): Promise<Display> {
  const { default: progress } = await import("cli-progress");
  const bar = new progress.SingleBar({
    format: `${what} {bar} {amount}  {detail}`,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    barsize: barColumns,
    // A cursor that is hidden when Ctrl-C ends the command would stay hidden.
    hideCursor: false,
    clearOnComplete: true,
    stream: process.stderr,
    emptyOnZero: true,
  });
  bar.start(1, 0, { amount: "", detail: "" });
  return {
    show: (state) => {
      const fraction = state.total === undefined || state.total === 0 ? 0 : state.done / state.total;
      bar.update(Math.min(1, fraction), {
        amount: amountOf(state, unit),
        detail: escapeControls(state.detail),
      });
    },
    close: () => bar.stop(),
  };
}

function openLines(terminal: Terminal, { what, unit }: ProgressOptions, startedAt: number): Display {
  let last = Number.NEGATIVE_INFINITY;
  return {
    show: (state) => {
      const now = performance.now();
      if (now - last < lineEveryMs) return;
      last = now;
      const after = formatDuration(now - startedAt);
      const detail = state.detail === "" ? "" : ` (${escapeControls(state.detail)})`;
      terminal.stderr.write(`${what}: ${amountOf(state, unit)}${detail}, after ${after}\n`);
    },
    close: () => undefined,
  };
}

/** Starts to watch over some work. Nothing is shown during its first two seconds. */
export function startProgress(terminal: Terminal, options: ProgressOptions): Progress {
  if (options.json) return { update: () => undefined, stop: () => undefined };
  const startedAt = performance.now();
  let state: State = { done: 0, total: undefined, detail: "" };
  let display: Display | undefined;
  let stopped = false;
  const open = async (): Promise<void> => {
    const opened = terminal.stderr.isTerminal
      ? await openBar(options)
      : openLines(terminal, options, startedAt);
    if (stopped) return opened.close();
    display = opened;
    display.show(state);
  };
  const timer = setTimeout(() => void open(), showAfterMs).unref();
  return {
    update: (done, total, detail) => {
      state = { done, total, detail };
      display?.show(state);
    },
    stop: () => {
      stopped = true;
      clearTimeout(timer);
      display?.close();
      display = undefined;
    },
  };
}
