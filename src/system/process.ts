// The one place that runs programs: arguments as arrays, never a shell; a time limit; and an error that shows
// the command and what it said. Nothing secret may be passed in arguments or environment.
import { MosError } from "../errors/mos-error.ts";

/** Which Debian package has a program, for the error when it is missing. */
const packages: Readonly<Record<string, string>> = {
  veritysetup: "cryptsetup-bin",
  dmsetup: "dmsetup",
  gensquashfs: "squashfs-tools-ng",
  tar2sqfs: "squashfs-tools-ng",
  "mkfs.erofs": "erofs-utils",
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

/**
 * Runs a program to its end and returns what it printed.
 * @throws MosError `program-missing`, or `program-failed` with the command, its exit code and the end of stderr
 */
export async function run(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  // Imported here: execa costs 28 ms of CPU that most commands never need.
  const { execa } = await import("execa");
  const command = [program, ...args].join(" ");
  const result = await execa(program, args, {
    reject: false,
    timeout: options.timeoutMs ?? 60_000,
    killSignal: "SIGKILL",
    stripFinalNewline: false,
    ...inputOf(options),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { LC_ALL: "C.UTF-8", ...options.env },
  });
  if (result.failed && "code" in result && result.code === "ENOENT") {
    throw missing(program);
  }
  const exitCode = result.exitCode ?? -1;
  if (exitCode < 0 || !(options.accept ?? [0]).includes(exitCode)) {
    const how = result.timedOut
      ? `did not end within ${options.timeoutMs ?? 60_000} ms`
      : result.signal === undefined
        ? `exited with ${exitCode}`
        : `was ended by ${result.signal}`;
    const said = `${result.stderr}`.trim().split("\n").slice(-5).join("\n");
    throw new MosError("program-failed", `${program} ${how}${said === "" ? "" : `: ${said}`}`, {
      about: command,
    });
  }
  return { exitCode, stdout: `${result.stdout}`, stderr: `${result.stderr}` };
}

function inputOf({ stdin, stdinFile }: RunOptions) {
  if (stdinFile !== undefined) return { inputFile: stdinFile };
  return stdin === undefined ? { stdin: "ignore" as const } : { input: stdin };
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
