// The host's half of the control channel to a guest (the protocol is described in guest-control.ts): commands
// and their output over one serial line, several at a time, each with a deadline.
import type { Readable, Writable } from "node:stream";
import { MosError } from "../errors/mos-error.ts";
import { maxLineLength } from "./guest-control.ts";

export interface GuestResult {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

interface Job {
  readonly stdout: Buffer[];
  readonly stderr: Buffer[];
  readonly done: (exitCode: number) => void;
  readonly fail: (error: MosError) => void;
}

/** Bytes per line: what base64 makes of them, a type and an id fit into the longest line. */
const chunkBytes = Math.floor(((maxLineLength - 30) / 4) * 3);

/** One serial line to one virtual machine, over all its boots. */
export class Control {
  private readonly toGuest: Writable;
  private readonly jobs = new Map<string, Job>();
  private readonly waiting = new Set<() => void>();
  private readonly queue: string[] = [];
  private unacknowledged = false;
  private pending = "";
  private nextId = 1;
  private boot: string | undefined;
  /** Whether the machine is gone. */
  closed = false;

  /** The host's ends of the guest's serial line; the provider closes them. */
  constructor(fromGuest: Readable, toGuest: Writable) {
    this.toGuest = toGuest;
    fromGuest.setEncoding("latin1");
    fromGuest.on("data", (text: string) => this.receive(text));
    fromGuest.on("error", () => this.end("the line from the guest broke"));
    fromGuest.on("close", () => this.end("the guest's machine ended"));
    toGuest.on("error", () => this.end("the line to the guest broke"));
  }

  /** The boot id of the guest's kernel that answers now; undefined before the first answer and after the end. */
  get bootId(): string | undefined {
    return this.closed ? undefined : this.boot;
  }

  /** Resolves at the next answer of a kernel, or at the end of the line. Check {@link bootId} afterwards. */
  changed(): Promise<void> {
    if (this.closed) return Promise.resolve();
    return new Promise((resolve) => this.waiting.add(resolve));
  }

  /**
   * Runs a program in the guest.
   * @param timeoutMs after which the program's session is killed
   * @throws MosError `machine-failed` on timeout, or when the guest goes down meanwhile
   */
  run(argv: readonly string[], stdin: Uint8Array | undefined, timeoutMs: number): Promise<GuestResult> {
    const about = argv.join(" ");
    if (this.bootId === undefined) {
      return Promise.reject(
        new MosError("machine-failed", "cannot run a command: the guest is down", { about }),
      );
    }
    const id = String(this.nextId++);
    const { promise, resolve, reject } = Promise.withResolvers<GuestResult>();
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    const timer = setTimeout(() => {
      this.send("kill", id);
      const said = Buffer.concat([...stdout, ...stderr])
        .toString()
        .trim()
        .slice(-2000);
      job.fail(
        new MosError("machine-failed", `a command in the guest did not end within ${timeoutMs} ms: ${said}`, {
          about,
        }),
      );
    }, timeoutMs);
    const settle = (): void => {
      clearTimeout(timer);
      this.jobs.delete(id);
    };
    const job: Job = {
      stdout,
      stderr,
      done: (exitCode) => {
        settle();
        resolve({ exitCode, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) });
      },
      fail: (error) => {
        settle();
        reject(error);
      },
    };
    this.jobs.set(id, job);
    this.send("arg", id, Buffer.from(argv.join("\0")));
    this.send("run", id);
    if (stdin !== undefined) this.send("in", id, stdin);
    this.send("eof", id);
    return promise;
  }

  private send(type: string, id: string, data: Uint8Array = new Uint8Array()): void {
    for (let at = 0; at === 0 || at < data.length; at += chunkBytes) {
      const base64 = Buffer.from(data.subarray(at, at + chunkBytes)).toString("base64");
      this.queue.push(`${type} ${id} ${base64}\n`);
    }
    this.sendNext();
  }

  private sendNext(): void {
    if (this.unacknowledged || this.closed) return;
    const line = this.queue.shift();
    if (line === undefined) return;
    this.unacknowledged = true;
    this.toGuest.write(line);
  }

  private receive(text: string): void {
    const lines = (this.pending + text).split("\n");
    this.pending = lines.pop() ?? "";
    for (const line of lines) this.obey(line);
  }

  private obey(line: string): void {
    const match = /^(hello|out|err|end|ack) ([0-9a-f-]+) ([A-Za-z0-9+/=]*)\r?$/.exec(line);
    const [, type, id, base64] = match ?? [];
    if (type === undefined || id === undefined || base64 === undefined) return;
    if (type === "hello") {
      this.boot = id;
      this.queue.length = 0;
      this.unacknowledged = false;
      this.failAll("the guest went down");
      this.wake();
      return;
    }
    if (type === "ack") {
      this.unacknowledged = false;
      this.sendNext();
      return;
    }
    const job = this.jobs.get(id);
    const data = Buffer.from(base64, "base64");
    if (type === "out") job?.stdout.push(data);
    if (type === "err") job?.stderr.push(data);
    if (type === "end") job?.done(Number(data.toString("latin1")));
  }

  private end(why: string): void {
    this.closed = true;
    this.failAll(why);
    this.wake();
  }

  private failAll(why: string): void {
    for (const job of this.jobs.values())
      job.fail(new MosError("machine-failed", `a command in the guest was lost: ${why}`));
  }

  private wake(): void {
    for (const resolve of this.waiting) resolve();
    this.waiting.clear();
  }
}
