// A running guest, whatever provider runs it: commands and files over the control channel, reboot, power cut.
// Every operation has a deadline, and a failure shows the end of the guest's console.
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { MosError } from "../errors/mos-error.ts";
import type { Control, GuestResult } from "./control.ts";

interface Provider {
  /** Removed at the end. */
  readonly directory: string;
  readonly consoleLog: string;
  readonly bootTimeoutMs: number;
  /** Switches the machine on, with the disk as it was left. */
  readonly power: () => { process: ChildProcess; control: Control };
}

interface ExecOptions {
  /** Until the command is killed; default 60 000. */
  readonly timeoutMs?: number;
  readonly stdin?: string | Uint8Array;
  /** Exit codes that are an answer, not a failure; default only 0. `"any"` returns every one. */
  readonly accept?: readonly number[] | "any";
}

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How long a guest may take to shut its services down. */
const shutdownTimeoutMs = 120_000;

export class Machine implements AsyncDisposable {
  private readonly provider: Provider;
  private running: { process: ChildProcess; control: Control; ended: Promise<unknown> } | undefined;

  constructor(provider: Provider) {
    this.provider = provider;
  }

  /** Path of the file that collects what the guest's console shows, over all boots. */
  get consoleLog(): string {
    return this.provider.consoleLog;
  }

  /** Everything the guest's console has shown so far, over all boots. */
  console(): string {
    try {
      return readFileSync(this.consoleLog, "utf8");
    } catch {
      return "";
    }
  }

  /**
   * Switches a machine on that is off, and waits until it can be controlled.
   * @throws MosError `machine-failed` with the end of the console
   */
  async start(): Promise<void> {
    if (this.running !== undefined) throw new MosError("machine-failed", "cannot start a machine that runs");
    const { process, control } = this.provider.power();
    this.running = { process, control, ended: once(process, "close") };
    await this.answered(undefined);
  }

  /**
   * Runs a command in the guest: an argument vector, or a script for bash (`-e -u -o pipefail`).
   * @throws MosError `machine-failed` when the exit code is not accepted, on timeout, or when the guest goes down
   */
  async exec(command: readonly string[] | string, options: ExecOptions = {}): Promise<ExecResult> {
    const result = await this.raw(command, options);
    return { exitCode: result.exitCode, stdout: result.stdout.toString(), stderr: result.stderr.toString() };
  }

  /**
   * Writes a file in the guest, whole or not at all, and makes its directory.
   * @param mode permission bits in octal; default 0644
   */
  async putFile(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
    const script =
      'mkdir -p -- "$(dirname -- "$0")"; cat > "$0.part"; chmod "$1" "$0.part"; mv -T -- "$0.part" "$0"';
    await this.raw(["bash", "-ec", script, path, mode.toString(8)], { stdin: content, timeoutMs: 120_000 });
  }

  /** Reads a file of the guest. */
  async getFile(path: string): Promise<Buffer> {
    return (await this.raw(["cat", "--", path], { timeoutMs: 120_000 })).stdout;
  }

  /**
   * Asks again and again until the answer is not undefined; between two questions 200 ms pass, or as long as an answer
   * takes, up to 2 s.
   * @param what completes the sentence "waited for …"
   * @throws MosError `machine-failed` after `timeoutMs` (default 60 000)
   */
  async waitFor<T>(what: string, ask: () => Promise<T | undefined>, timeoutMs = 60_000): Promise<T> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const asked = performance.now();
      const answer = await ask();
      if (answer !== undefined) return answer;
      if (performance.now() > end) {
        throw new MosError("machine-failed", `waited ${timeoutMs} ms in vain for ${what}\n${this.tail()}`);
      }
      // What is waited for has half of the guest's time; an answer that took long may have waited for the guest itself.
      const pause = Math.min(2000, Math.max(200, performance.now() - asked));
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** Waits until the guest's boot is over. @returns what `systemctl is-system-running` says, e.g. `running` */
  async booted(timeoutMs = 180_000): Promise<string> {
    const result = await this.exec(["systemctl", "is-system-running", "--wait"], {
      timeoutMs,
      accept: "any",
    });
    return result.stdout.trim();
  }

  /**
   * Shuts the guest down in good order, starts it again and waits until it can be controlled. Not by a reboot of the
   * guest's own: User-Mode Linux then runs itself again and keeps its old network device open, which stays busy.
   */
  async reboot(): Promise<void> {
    await this.powerOff();
    await this.start();
  }

  /** Shuts the guest down in good order; {@link start} starts it again. */
  async powerOff(): Promise<void> {
    const { ended } = this.alive();
    await this.exec(["systemctl", "--no-block", "poweroff"]);
    await this.within(ended, shutdownTimeoutMs, "the guest did not power off");
    this.running = undefined;
  }

  /** Waits until the guest has powered itself off, which something in it decided; {@link start} starts it again. */
  async poweredOff(timeoutMs: number): Promise<void> {
    await this.within(this.alive().ended, timeoutMs, "the guest did not power itself off");
    this.running = undefined;
  }

  /** Cuts the power: nothing the guest has not written to its disk survives. {@link start} starts it again. */
  async powerCut(): Promise<void> {
    const { process, ended } = this.alive();
    process.kill("SIGKILL");
    await this.within(ended, 10_000, "the guest's process did not end");
    this.running = undefined;
  }

  /** Ends the machine at once and removes its disk and its log; its network stays, because others may use it. */
  async dispose(): Promise<void> {
    if (this.running !== undefined) await this.powerCut();
    await rm(this.provider.directory, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  private async raw(command: readonly string[] | string, options: ExecOptions): Promise<GuestResult> {
    const { control } = this.alive();
    const argv = typeof command === "string" ? ["bash", "-euo", "pipefail", "-c", command] : command;
    const stdin = typeof options.stdin === "string" ? Buffer.from(options.stdin) : options.stdin;
    const result = await control.run(argv, stdin, options.timeoutMs ?? 60_000);
    const accept = options.accept ?? [0];
    if (accept !== "any" && !accept.includes(result.exitCode)) {
      const said = Buffer.concat([result.stdout, result.stderr]).toString().trim().slice(-4000);
      throw new MosError("machine-failed", `a command in the guest exited with ${result.exitCode}: ${said}`, {
        about: argv.join(" "),
      });
    }
    return result;
  }

  /** Waits until a kernel other than the one of boot id `before` answers. */
  private async answered(before: string | undefined): Promise<void> {
    const { control, ended } = this.alive();
    const limit = this.provider.bootTimeoutMs + (before === undefined ? 0 : shutdownTimeoutMs);
    const answer = async (): Promise<void> => {
      while (!control.closed && control.bootId === before) await control.changed();
    };
    await this.within(Promise.race([answer(), ended]), limit, "the guest did not answer");
    if (control.bootId === undefined) {
      this.running = undefined;
      throw new MosError("machine-failed", `the guest's machine ended while booting\n${this.tail()}`);
    }
  }

  private async within(work: Promise<unknown>, limitMs: number, failure: string): Promise<void> {
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      reject(new MosError("machine-failed", `${failure} within ${limitMs} ms\n${this.tail()}`));
    }, limitMs);
    try {
      await Promise.race([work, promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  private alive(): { process: ChildProcess; control: Control; ended: Promise<unknown> } {
    if (this.running === undefined)
      throw new MosError("machine-failed", "cannot do this: the machine is off");
    return this.running;
  }

  private tail(): string {
    return `Console (${this.consoleLog}):\n${this.console().split("\n").slice(-25).join("\n")}`;
  }
}
