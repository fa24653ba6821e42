// Runs a CLI: the command line goes to @stricli/core, what goes wrong comes back as one MosError with its exit
// code, in one format, whoever threw it. Commands only do their work, print their answer, or throw.
import {
  type Application,
  type ApplicationText,
  ArgumentParseError,
  ArgumentScannerError,
  formatMessageForArgumentScannerError,
  run,
} from "@stricli/core";
import { exitCodes } from "../errors/catalogue.ts";
import { asMosError, MosError } from "../errors/mos-error.ts";
import type { CliContext } from "./command.ts";
import { completeWord, proposals } from "./completion.ts";
import { reportError } from "./error-report.ts";
import { openTerminal, type Terminal } from "./terminal.ts";

/** Everything that went wrong in one run: several problems of the command line, or one error of the command. */
class Failures {
  private readonly usage: string[] = [];
  private thrown: MosError | undefined;

  addUsage(message: string): string {
    this.usage.push(message);
    return message;
  }

  addThrown(error: unknown): string {
    this.thrown ??= asMosError(error);
    return this.thrown.message;
  }

  /** @param program whose help a wrong command line points to */
  error(program: string): MosError | undefined {
    const [first, ...more] = this.usage;
    if (this.thrown !== undefined || first === undefined) return this.thrown;
    const hint = `${program} --help, and --help after each of its commands, say what is possible.`;
    return more.length === 0
      ? new MosError("usage", `cannot understand the command line: ${first}`, { hint })
      : new MosError("usage", "cannot understand the command line", { problems: this.usage, hint });
  }
}

function parsingFailure(failures: Failures, error: unknown): string {
  if (error instanceof ArgumentParseError && error.exception instanceof MosError) {
    return failures.addThrown(error.exception);
  }
  return error instanceof ArgumentScannerError
    ? failures.addUsage(
        formatMessageForArgumentScannerError(error, {
          ArgumentParseError: ({ externalFlagNameOrPlaceholder: what, input, exception }) =>
            `"${input}" is no ${what}: ${exception instanceof Error ? exception.message : exception}`,
        }),
      )
    : failures.addThrown(error);
}

/** Stricli's texts, of which those about failures are caught instead of printed. */
function catching(text: ApplicationText, failures: Failures): ApplicationText {
  return {
    ...text,
    noCommandRegisteredForInput: (args) =>
      failures.addUsage(text.noCommandRegisteredForInput({ ...args, ansiColor: false }).replaceAll("`", '"')),
    exceptionWhileParsingArguments: (error) => parsingFailure(failures, error),
    exceptionWhileLoadingCommandFunction: (error) => failures.addThrown(error),
    exceptionWhileLoadingCommandContext: (error) => failures.addThrown(error),
    exceptionWhileRunningCommand: (error) => failures.addThrown(error),
    exceptionWhileRunningIntegrationHook: ({ exception }) => failures.addThrown(exception),
    exceptionWhileRunningIntegrationFlag: ({ exception }) => failures.addThrown(exception),
    commandErrorResult: (error) => failures.addThrown(error),
  };
}

/** Whether the command line asks for JSON; known before it is parsed, because its own errors are JSON then too. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return (end < 0 ? argv : argv.slice(0, end)).includes("--json");
}

/**
 * Runs one command line against given streams.
 * @param argv the words after the command's name
 * @returns the exit code (src/errors/catalogue.ts)
 */
export async function execute(
  app: Application<CliContext>,
  argv: readonly string[],
  terminal: Terminal,
): Promise<number> {
  const failures = new Failures();
  const { stdout, env } = terminal;
  const nowhere = { write: () => undefined };
  const colorDepth = { getColorDepth: () => (stdout.hasColor ? 8 : 1) };
  const streams = { stdout: { write: stdout.write, ...colorDepth }, stderr: nowhere, env };
  const context: CliContext = { process: streams, terminal, outcome: { exitCode: 0 } };
  const [first, ...rest] = argv;
  if (first === completeWord) {
    stdout.write(await proposals(app, rest, context));
    return 0;
  }
  const caught = catching(app.defaultText, failures);
  const config = { ...app.config, localization: { text: caught } };
  await run({ ...app, config, defaultText: caught }, argv, { ...context, process: { ...streams } });
  const error = failures.error(app.config.name);
  if (error === undefined) return context.outcome.exitCode;
  reportError(terminal, error, wantsJson(argv));
  return error.exitCode;
}

/** Runs this process's command line and sets its exit code. Never throws. */
export async function runCli(app: Application<CliContext>, argv: readonly string[]): Promise<void> {
  const terminal = openTerminal();
  // What is thrown outside of any promise of the command (an event handler) is a defect; it still ends in order.
  process.once("uncaughtException", (error) => {
    reportError(terminal, asMosError(error), wantsJson(argv));
    process.exit(exitCodes.failure);
  });
  process.exitCode = await execute(app, argv, terminal);
}
