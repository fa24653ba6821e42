import { buildCommand } from "@stricli/core";
import { describe, expect, test } from "vitest";
import {
  application,
  type CliContext,
  type JsonFlag,
  jsonFlag,
  withExamples,
} from "../../../src/cli/command.ts";
import { execute } from "../../../src/cli/frame.ts";
import { MosError } from "../../../src/errors/mos-error.ts";
import { recordingTerminal } from "./terminal.ts";

/** An application whose one command does what the test says. */
function appThat(act: (context: CliContext) => void | Promise<void>) {
  const go = buildCommand<JsonFlag & { size?: number }, [string?], CliContext>({
    docs: { brief: "Go somewhere", fullDescription: "Goes there." },
    parameters: {
      flags: {
        json: jsonFlag,
        size: {
          kind: "parsed",
          brief: "How far",
          optional: true,
          parse: (input) => {
            if (input === "odd")
              throw new MosError("reference-invalid", "cannot go that far", { about: input });
            return Number(input);
          },
        },
      },
      positional: {
        kind: "tuple",
        parameters: [{ brief: "where", placeholder: "PLACE", parse: String, optional: true }],
      },
    },
    async func() {
      await act(this);
    },
  });
  const docs = { brief: "A program", fullDescription: "A program for tests." };
  return application("prog", docs, { go: withExamples(go, [["prog go home", "the way home"]]) });
}

async function run(
  argv: readonly string[],
  act: Parameters<typeof appThat>[0] = () => undefined,
  color = false,
) {
  const terminal = recordingTerminal({}, { hasColor: color });
  const exit = await execute(appThat(act), argv, terminal);
  return { exit, out: terminal.out(), err: terminal.err() };
}

const refuse = () => {
  throw new MosError("chain-untrusted", "cannot trust the signer", {
    about: "CN=Evil\u001b[2J\nroot",
    problems: ["first\u202e", "second"],
    hint: "Do otherwise.",
  });
};

describe("a command", () => {
  test("that succeeds exits with 0 and says what it says", async () => {
    expect(await run(["go"], (context) => context.terminal.stdout.write("gone\n"))).toEqual({
      ...{ exit: 0, out: "gone\n", err: "" },
    });
  });

  test("may answer with an exit code without an error", async () => {
    const answer = (context: CliContext) => {
      context.outcome.exitCode = 8;
    };
    expect(await run(["go"], answer)).toEqual({ exit: 8, out: "", err: "" });
  });

  test("that is refused prints one error, with nothing from outside reaching the terminal raw", async () => {
    expect(await run(["go"], refuse)).toEqual({
      exit: 4,
      out: "",
      err: [
        "error: cannot trust the signer",
        "  about: CN=Evil\\x1b[2J",
        "         root",
        "  - first\\u{202e}",
        "  - second",
        "  hint: Do otherwise.",
        "  code: chain-untrusted",
        "",
      ].join("\n"),
    });
  });

  test("that is refused prints one JSON document with --json, and nothing else", async () => {
    const { exit, out, err } = await run(["go", "--json"], refuse);
    expect([exit, err]).toEqual([4, ""]);
    expect(JSON.parse(out)).toEqual({
      error: {
        code: "chain-untrusted",
        message: "cannot trust the signer",
        about: "CN=Evil\u001b[2J\nroot",
        problems: ["first\u202e", "second"],
        hint: "Do otherwise.",
      },
    });
  });

  test("that fails in a way nobody foresaw says so, with where it happened", async () => {
    const broken = () => {
      throw new TypeError("x is not a function");
    };
    const { exit, err } = await run(["go"], broken);
    expect(exit).toBe(1);
    expect(err).toMatch(/^error: x is not a function\n {2}at .*frame\.test\.ts/m);
    expect(err).toContain("code: internal");
  });

  test("that meets a full disk says that, not that it is broken", async () => {
    const full = () => {
      throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
    };
    expect((await run(["go"], full)).err).toContain("code: no-space");
  });

  test("shows its error in colour only where there is colour", async () => {
    expect((await run(["go"], refuse)).err).not.toContain("\u001b");
    expect((await run(["go"], refuse, true)).err).toContain("\u001b[31m");
  });
});

describe("a wrong command line", () => {
  test.each([
    [["og"], "did you mean"],
    [["go", "--jsno"], "No flag registered for --jsno"],
    [["go", "a", "b"], "Too many arguments"],
    [["go", "--size"], "size"],
  ])("%j exits with 2 and says what is wrong", async (argv, text) => {
    const { exit, out, err } = await run(argv);
    expect([exit, out]).toEqual([2, ""]);
    expect(err).toContain("error: cannot understand the command line: ");
    expect(err).toContain(text);
    expect(err).toContain("hint: prog --help");
    expect(err).toContain("code: usage");
  });

  test("is one JSON document too with --json", async () => {
    const { exit, out, err } = await run(["go", "a", "b", "--json"]);
    expect([exit, err]).toEqual([2, ""]);
    expect(JSON.parse(out).error.code).toBe("usage");
  });

  test("keeps the code of a parameter that knows better", async () => {
    const { exit, err } = await run(["go", "--size", "odd"]);
    expect([exit, err.split("\n")[0]]).toEqual([3, "error: cannot go that far"]);
  });

  test("does not take what follows -- for flags", async () => {
    expect((await run(["go", "--", "--json"])).exit).toBe(0);
    const { out, err } = await run(["go", "--", "--json"], refuse);
    expect([out, err.split("\n")[0]]).toEqual(["", "error: cannot trust the signer"]);
  });
});

describe("help", () => {
  test("of a command ends in examples", async () => {
    const { exit, out } = await run(["go", "--help"]);
    expect(exit).toBe(0);
    expect(out).toMatch(
      /USAGE\n {2}prog go .*FLAGS.*ARGUMENTS.*EXAMPLES\n {2}prog go home\n {6}the way home\n$/s,
    );
  });

  test("of the program is what it prints without a word", async () => {
    const { exit, out } = await run([]);
    expect(exit).toBe(0);
    expect(out).toContain("A program for tests.");
  });
});

describe("completion", () => {
  test.each([["bash"], ["zsh"], ["fish"]])("prints a script for %s", async (shell) => {
    const { exit, out } = await run(["completion", shell]);
    expect(exit).toBe(0);
    expect(out).toContain("__complete");
    expect(out).toContain("prog");
  });

  test("refuses a shell it does not know", async () => {
    expect((await run(["completion", "tcsh"])).exit).toBe(2);
  });

  test.each([
    [["g"], ["go"]],
    [[""], ["go", "completion"]],
    [["go", "--s"], ["--size"]],
    [["completion", "z"], ["zsh"]],
    [["nothing", ""], []],
    [[], []],
  ])("proposes for %j", async (words, expected) => {
    const { exit, out } = await run(["__complete", ...words]);
    expect(exit).toBe(0);
    expect(
      out
        .split("\n")
        .filter(Boolean)
        .map((line) => line.split("\t")[0]),
    ).toEqual(expected);
  });
});
