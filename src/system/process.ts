// The one place that runs programs: arguments as arrays, never a shell; a time limit; and an error that shows
// the command and what it said. Nothing secret may be passed in arguments or environment.
import { createReadStream } from "node:fs";
import { asMosError, MosError } from "../errors/mos-error.ts";

/** Which Debian package has a program, for the error when it is missing. */
const packages: Readonly<Record<string, string>> = {
  veritysetup: "cryptsetup-bin",
  dmsetup: "dmsetup",
  gensquashfs: "squashfs-tools-ng",
  sqfs2tar: "squashfs-tools-ng",
  tar2sqfs: "squashfs-tools-ng",
  "mkfs.erofs": "erofs-utils",
  "fsck.erofs": "erofs-utils",
  systemctl: "systemd",
  podman: "podman",
  tar: "tar",
  ukify: "systemd-ukify",
  mmdebstrap: "mmdebstrap",
  sfdisk: "fdisk",
  "systemd-repart": "systemd-repart",
  mke2fs: "e2fsprogs",
  "mkfs.vfat": "dosfstools",
  mcopy: "mtools",
  "qemu-img": "qemu-utils",
  skopeo: "skopeo",
  umoci: "umoci",
  mmd: "mtools",
  "virt-fw-vars": "python3-virt-firmware",
};

function missing(program: string): MosError {
  const needed = packages[program];
  return new MosError("program-missing", `cannot run ${program}: it is not installed`, {
    about: program,
    ...(needed === undefined ? {} : { hint: `apt-get install ${needed}` }),
  });
}

interface RunOptions {
  /** Milliseconds until the program is killed; default 60 000. */
  readonly timeoutMs?: number;
  readonly stdin?: string | Uint8Array;
  /** A file that the program reads as its input. */
  readonly stdinFile?: string;
  readonly cwd?: string;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Exit codes that are an answer, not a failure; default only 0. */
  readonly accept?: readonly number[];
}

export interface RunResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface Ended {
  /** The exit code, or Node's word for why there is none. */
  readonly code: number | string;
  readonly signal: string | undefined;
  /** It was killed for taking too long. */
  readonly isLate: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** More than any program that mos runs prints, in bytes; one that does not stop printing is ended. */
const maxOutput = 100 * 1024 * 1024;

/** Node's execFile() and no library: this is on the path of every boot, where one would cost 80 ms of CPU. */
async function ended(
  program: string,
  args: readonly string[],
  timeout: number,
  { stdin, stdinFile, cwd, env }: RunOptions,
): Promise<Ended> {
  const options = {
    ...{ timeout, killSignal: "SIGKILL" as const, maxBuffer: maxOutput, encoding: "utf8" as const },
    ...(cwd === undefined ? {} : { cwd }),
    env: { ...process.env, LC_ALL: "C.UTF-8", ...env },
  };
  // Imported here: it costs 7 ms of CPU that many commands never need.
  const { execFile } = await import("node:child_process");
  return await new Promise((resolve, reject) => {
    let unreadable: unknown;
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      if (unreadable !== undefined) return reject(asMosError(unreadable, stdinFile));
      const code = error === null ? 0 : (error.code ?? "killed");
      resolve({ code, signal: error?.signal ?? undefined, isLate: error?.killed === true, stdout, stderr });
    });
    // A program need not read all it is given: what matters is how it ends.
    child.stdin?.on("error", () => undefined);
    if (stdinFile === undefined) return void child.stdin?.end(stdin);
    const input = createReadStream(stdinFile);
    // Half of a file is no end of it.
    input.once("error", (error) => {
      unreadable = error;
      child.kill("SIGKILL");
    });
    if (child.stdin !== null) input.pipe(child.stdin);
  });
}

function howItEnded({ code, signal }: Ended): string {
  if (signal !== undefined) return `was ended by ${signal}`;
  return typeof code === "number" ? `exited with ${code}` : `could not be run (${code})`;
}

/**
 * Runs a program to its end and returns what it printed.
 * @throws MosError `program-missing`, or `program-failed` with the command, its exit code and the end of stderr
 */
export async function run(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const command = [program, ...args].join(" ");
  const timeoutMs = options.timeoutMs ?? 60_000;
  const result = await ended(program, args, timeoutMs, options);
  if (result.code === "ENOENT") throw missing(program);
  const { code, stdout, stderr } = result;
  if (typeof code === "string" || !(options.accept ?? [0]).includes(code)) {
    const how = result.isLate ? `did not end within ${timeoutMs} ms` : howItEnded(result);
    const said = stderr.trim().split("\n").slice(-5).join("\n");
    throw new MosError("program-failed", `${program} ${how}${said === "" ? "" : `: ${said}`}`, {
      about: command,
    });
  }
  return { exitCode: code, stdout, stderr };
}

/**
 * Runs a program with this process's own terminal, for as long as it runs.
 * @returns its exit code; 128 and the number of the signal, as shells have it, when a signal ended it
 * @throws MosError `program-missing`
 */
export async function runAttached(program: string, args: readonly string[]): Promise<number> {
  const [{ spawn }, { constants }] = await Promise.all([import("node:child_process"), import("node:os")]);
  // Ctrl-C is for the program that runs, which has the same terminal.
  const ignore = () => undefined;
  process.on("SIGINT", ignore);
  try {
    return await new Promise<number>((resolve, reject) => {
      const child = spawn(program, args, { stdio: "inherit" });
      child.once("error", () => reject(missing(program)));
      child.once("exit", (code, signal) =>
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
      );
    });
  } finally {
    process.off("SIGINT", ignore);
  }
}

/**
 * Runs a program to its end and passes on what it prints, as it prints it: the next piece is read when the one before was
 * taken.
 * @returns its exit code; 255 when a signal ended it
 * @throws MosError `program-missing`
 */
export async function runRelayed(
  program: string,
  args: readonly string[],
  stdin: Uint8Array,
  onOutput: (stream: "stdout" | "stderr", piece: Buffer) => Promise<void>,
): Promise<number> {
  const { spawn } = await import("node:child_process");
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.on("error", () => undefined);
  child.stdin.end(stdin);
  const code = new Promise<number>((resolve, reject) => {
    child.once("error", () => reject(missing(program)));
    child.once("close", (exitCode) => resolve(exitCode ?? 255));
  });
  const relay = async (stream: "stdout" | "stderr"): Promise<void> => {
    for await (const piece of child[stream]) await onOutput(stream, piece as Buffer);
  };
  const [exitCode] = await Promise.all([code, relay("stdout"), relay("stderr")]);
  return exitCode;
}

/** A program whose input and output are ours. */
interface Piped {
  readonly stdin: NodeJS.WritableStream;
  readonly stdout: AsyncIterable<Uint8Array>;
  /** @throws MosError `program-missing`, `program-failed` with the end of what it said */
  readonly ended: Promise<void>;
  readonly kill: () => void;
}

/** Starts a program, to be written to and read from while it runs. It has to be waited for. */
export async function runPiped(program: string, args: readonly string[]): Promise<Piped> {
  const { spawn } = await import("node:child_process");
  const child = spawn(program, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, LC_ALL: "C.UTF-8" },
  });
  let said = "";
  child.stderr.on("data", (piece: Buffer) => {
    said = `${said}${piece.toString("utf8")}`.slice(-4096);
  });
  // It may end before it has read everything; what it says then is what counts.
  child.stdin.on("error", () => undefined);
  const ended = new Promise<void>((resolve, reject) => {
    child.once("error", () => reject(missing(program)));
    child.once("close", (code) => {
      if (code === 0) return resolve();
      const end = said.trim().split("\n").slice(-5).join("\n");
      const command = [program, ...args].join(" ");
      reject(
        new MosError(
          "program-failed",
          `${program} exited with ${code ?? "a signal"}${end === "" ? "" : `: ${end}`}`,
          {
            about: command,
          },
        ),
      );
    });
  });
  // Whoever waits for it gets the error; until then it is nobody's.
  ended.catch(() => undefined);
  return { stdin: child.stdin, stdout: child.stdout, ended, kill: () => void child.kill("SIGKILL") };
}
