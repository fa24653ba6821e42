// `validator`, as containers/validator 0.2.2 is called: its words, its messages, its exit codes; and --strict.
// reference: containers/validator, start-up and commands.
import { readFileSync } from "node:fs";
import { catalogue, type ErrorCode } from "../../errors/catalogue.ts";
import { type ByteText, canonicalPrefix, fromBytes, fromText, toText } from "../../signed-files/byte-path.ts";
import { type CommandLine, completions, helpText, readCommandLine } from "../../signed-files/command-line.ts";
import { absolute, type Naming, type Run } from "../../signed-files/engine.ts";
import { completeWord, completionScript, shells } from "../completion.ts";
import { openTerminal, type Terminal } from "../terminal.ts";

/** Which validator this one is like. */
const likeVersion = "0.2.2";

/** Ends the command: the message, where to look, and exit code 1. */
class HelpError extends Error {}

/** A run's answer so far. */
class Outcome {
  /** The code of the first problem. */
  private first: ErrorCode | undefined;
  private readonly terminal: Terminal;
  private readonly strict: boolean;
  private readonly isVerbose: boolean;

  constructor(terminal: Terminal, strict: boolean, isVerbose: boolean) {
    this.terminal = terminal;
    this.strict = strict;
    this.isVerbose = isVerbose;
  }

  readonly problem = (code: ErrorCode, message: string): void => {
    this.first ??= code;
    this.terminal.stderr.write(this.strict ? `${message} [${code}]\n` : `${message}\n`);
  };

  readonly info = (message: string): void => {
    if (this.isVerbose) this.terminal.stderr.write(`${message}\n`);
  };

  /** validator knows 0 and 1 alone; strictly it is the code's own. */
  exitCode(isWell: boolean): number {
    if (isWell) return 0;
    return this.strict && this.first !== undefined ? catalogue[this.first].exit : 1;
  }
}

/** The arguments as bytes. Node makes text of them, in which what is not UTF-8 is lost; the kernel still has them. */
function rawArguments(args: readonly string[]): readonly ByteText[] {
  if (!args.some((arg) => arg.includes("\uFFFD"))) return args.map(fromText);
  const all = fromBytes(readFileSync("/proc/self/cmdline")).split("\0").slice(0, -1);
  return all.slice(all.length - args.length).map((arg) => fromBytes(Buffer.from(arg, "latin1")));
}

type Line = CommandLine<ByteText>;

function namingOf(run: Run, { values }: Line): Naming {
  const last = (name: string): ByteText | undefined => values.get(name)?.at(-1);
  const [base, prefix] = [last("relative-to"), last("path-prefix")];
  return {
    relativeTo: base === undefined ? undefined : absolute(run, base),
    prefix: prefix === undefined ? undefined : canonicalPrefix(prefix),
  };
}

async function sign(run: Run, line: Line): Promise<boolean> {
  const [{ loadPrivateKey }, { signFiles }] = await Promise.all([
    import("../../signed-files/keys.ts"),
    import("../../signed-files/sign.ts"),
  ]);
  const file = line.values.get("key")?.at(-1);
  if (file === undefined) throw new HelpError("No --key argument given");
  const key = loadPrivateKey(file, run);
  if (key === undefined) return false;
  if (line.words.length === 0) throw new HelpError("No files given");
  const { flags } = line;
  const options = { key, recursive: flags.has("recursive"), force: flags.has("force") };
  return signFiles(run, line.words, { ...options, ...namingOf(run, line) });
}

/** Keys of --key and --key-dir; undefined when one was reported as unusable. */
async function publicKeys(run: Run, { values }: Line) {
  const { loadPublicKeys } = await import("../../signed-files/keys.ts");
  const files = values.get("key") ?? [];
  const directories = values.get("key-dir") ?? [];
  return files.length + directories.length === 0 ? [] : loadPublicKeys(files, directories, run);
}

/** The message says `given` twice; scripts may know it. */
function needKeys({ values }: Line, names: readonly string[]): void {
  if (!names.some((name) => values.has(name)))
    throw new HelpError("No --key or --key-dirs argument given given");
}

async function validate(run: Run, line: Line): Promise<boolean> {
  needKeys(line, ["key", "key-dir"]);
  const keys = await publicKeys(run, line);
  if (keys === undefined) return false;
  if (line.words.length === 0) throw new HelpError("No files given");
  const { validateFiles } = await import("../../signed-files/validate.ts");
  return validateFiles(run, line.words, {
    keys,
    recursive: line.flags.has("recursive"),
    ...namingOf(run, line),
  });
}

async function install(run: Run, line: Line): Promise<boolean> {
  const { flags, values, words } = line;
  needKeys(line, ["key", "key-dir", "config", "config-dir"]);
  const keys = await publicKeys(run, line);
  if (keys === undefined) return false;
  const [configs, directories] = [values.get("config") ?? [], values.get("config-dir") ?? []];
  const hasConfig = configs.length + directories.length > 0;
  if (words.length === 1 || (words.length === 0 && !hasConfig)) throw new HelpError("No destination given");
  let isWell = true;
  const destination = words.at(-1);
  if (destination !== undefined) {
    const { installFiles } = await import("../../signed-files/install.ts");
    const options = { recursive: flags.has("recursive"), force: flags.has("force"), ...namingOf(run, line) };
    isWell = await installFiles(run, { sources: words.slice(0, -1), destination, ...options }, keys);
  }
  if (!hasConfig) return isWell;
  const { installConfigs } = await import("../../signed-files/install-config.ts");
  return (await installConfigs(run, configs, directories)) && isWell;
}

async function blob(run: Run, line: Line, write: (bytes: Uint8Array) => void): Promise<boolean> {
  const [file, ...more] = line.words;
  if (file === undefined) throw new HelpError("No file given");
  if (more.length > 0) throw new HelpError("More than one file given");
  const { blobOfFile } = await import("../../signed-files/blob.ts");
  const bytes = blobOfFile(run, file, namingOf(run, line));
  if (bytes !== undefined) write(bytes);
  return bytes !== undefined;
}

/** @returns the exit code */
async function execute(
  program: string,
  args: readonly ByteText[],
  { terminal, cwd, write }: Surroundings,
): Promise<number> {
  const line = readCommandLine(args, (text) => fromBytes(Buffer.from(text, "latin1")));
  if ("error" in line) throw new HelpError(toText(fromBytes(Buffer.from(line.error, "latin1"))));
  const { command, flags } = line;
  if (line.wantsHelp) {
    terminal.stdout.write(helpText(program, command));
    return 0;
  }
  if (flags.has("version")) {
    terminal.stdout.write(`validator ${likeVersion}\n`);
    return 0;
  }
  if (command === undefined) throw new HelpError("No command given");
  const strict = flags.has("strict");
  const isVerbose = line.verbosity > 0 || /\b(all|validator)\b/.test(terminal.env["G_MESSAGES_DEBUG"] ?? "");
  const outcome = new Outcome(terminal, strict, isVerbose);
  const run: Run = { cwd: fromText(cwd), strict, report: outcome };
  switch (command) {
    case "sign":
      return outcome.exitCode(await sign(run, line));
    case "validate":
      return outcome.exitCode(await validate(run, line));
    case "install":
      return outcome.exitCode(await install(run, line));
    case "blob":
      return outcome.exitCode(await blob(run, line, write));
  }
}

/** What shells ask for: a script once, proposals at every tab. */
function complete(args: readonly string[]): string | undefined {
  const [first, ...rest] = args;
  if (first === completeWord)
    return completions(rest)
      .map((word) => `${word}\t\n`)
      .join("");
  const shell = first === "completion" ? shells.find((known) => known === rest[0]) : undefined;
  return shell === undefined ? undefined : completionScript(shell, "validator");
}

/** What a run of the program has of its process. */
export interface Surroundings {
  readonly terminal: Terminal;
  /** Absolute. */
  readonly cwd: string;
  readonly write: (bytes: Uint8Array) => void;
}

function ofProcess(): Surroundings {
  const write = (bytes: Uint8Array): void => void process.stdout.write(bytes);
  return { terminal: openTerminal(), cwd: process.cwd(), write };
}

/**
 * Runs `validator`. Never throws but for a defect.
 * @param program as the caller wrote it, for the message that points to the help
 * @returns the exit code
 */
export async function main(
  args: readonly string[],
  program: string,
  surroundings: Surroundings = ofProcess(),
): Promise<number> {
  const { terminal } = surroundings;
  const completion = complete(args);
  if (completion !== undefined) {
    terminal.stdout.write(completion);
    return 0;
  }
  try {
    return await execute(program, rawArguments(args), surroundings);
  } catch (error) {
    if (!(error instanceof HelpError)) throw error;
    terminal.stderr.write(`${error.message}\n\nSee '${program} --help' for usage.\n`);
    return 1;
  }
}
