// How the commands of every CLI are put together: what a command gets, the --json flag, help that ends in
// examples, and the `completion` command that each application has.
import {
  type Application,
  buildApplication,
  buildCommand,
  buildRouteMap,
  type Command,
  type CommandContext,
  type RouteMap,
} from "@stricli/core";
import { completionScript, type Shell, shells } from "./completion.ts";
import type { Terminal } from "./terminal.ts";

/** `this` of every command. */
export interface CliContext extends CommandContext {
  readonly terminal: Terminal;
  /** What the process exits with when no error is thrown; for commands whose answer is also a code. */
  readonly outcome: { exitCode: number };
}

/** The flag that every command has; absent is false. */
export const jsonFlag = {
  kind: "boolean",
  brief: "Print one JSON document instead of text",
  optional: true,
  withNegated: false,
} as const;

/** What {@link jsonFlag} makes of a command's flags. */
export interface JsonFlag {
  readonly json?: boolean;
}

type Route = Command<CliContext> | RouteMap<CliContext>;

/** Adds an EXAMPLES section at the end of a command's help. */
export function withExamples(
  command: Command<CliContext>,
  examples: readonly (readonly [line: string, what: string])[],
): Command<CliContext> {
  return {
    ...command,
    formatHelp: (args) => {
      const heading = args.ansiColor ? "\x1b[4mEXAMPLES\x1b[24m" : "EXAMPLES";
      const lines = examples.flatMap(([line, what]) => [`  ${line}`, `      ${what}`]);
      return `${command.formatHelp(args)}\n${heading}\n${lines.join("\n")}\n`;
    },
  };
}

function completionCommand(name: string): Command<CliContext> {
  const command = buildCommand<Record<never, never>, [Shell], CliContext>({
    docs: {
      brief: "Print a completion script for a shell",
      fullDescription:
        "Prints a script that completes the commands, flags and names of this program. Source it from the shell's start-up file.",
    },
    parameters: {
      positional: {
        kind: "tuple",
        parameters: [
          {
            brief: shells.join(", "),
            placeholder: "SHELL",
            parse: (input) => {
              const shell = shells.find((known) => known === input);
              if (shell === undefined) throw new SyntaxError(`known shells are ${shells.join(", ")}`);
              return shell;
            },
            proposeCompletions: (partial) => shells.filter((shell) => shell.startsWith(partial)),
          },
        ],
      },
    },
    func(_flags, shell) {
      this.terminal.stdout.write(completionScript(shell, name));
    },
  });
  return withExamples(command, [[`source <(${name} completion bash)`, "complete in this shell, now"]]);
}

/**
 * Builds the application of one name: its commands, and `completion`.
 * @param docs what the help of the name itself says
 * @param aliases other names of some routes, taken as they are written
 */
export function application(
  name: string,
  docs: { readonly brief: string; readonly fullDescription: string },
  routes: Readonly<Record<string, Route>>,
  aliases: Readonly<Record<string, string>> = {},
): Application<CliContext> {
  const root = buildRouteMap<string, CliContext>({
    docs,
    routes: { ...routes, completion: completionCommand(name) },
    aliases,
  });
  return buildApplication(root, {
    name,
    scanner: { caseStyle: "allow-kebab-for-camel", allowArgumentEscapeSequence: true },
  });
}
