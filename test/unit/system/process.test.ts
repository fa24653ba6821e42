// Programs that mos runs: what they printed, and an error that says how one ended.
import { expect, test } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { run } from "../../../src/system/process.ts";

async function failure(promise: Promise<unknown>): Promise<MosError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof MosError) return error;
  throw new Error(`no MosError: ${String(error)}`);
}

test("gives input, environment and directory, and returns everything printed", async () => {
  const script = 'read line; printf "%s %s %s\\n" "$line" "$MORE" "$PWD"; echo aside >&2';
  const options = { stdin: "given\n", env: { MORE: "more" }, cwd: "/usr" };
  expect(await run("sh", ["-c", script], options)).toEqual({
    exitCode: 0,
    stdout: "given more /usr\n",
    stderr: "aside\n",
  });
});

test("keeps text whole that arrives in pieces", async () => {
  const { stdout } = await run("sh", [
    "-c",
    'i=0; while [ $i -lt 20000 ]; do echo "äöü€😀"; i=$((i+1)); done',
  ]);
  expect(stdout).toBe("äöü€😀\n".repeat(20_000));
});

test("a program reads a file, and does not take half of one for all", async () => {
  expect((await run("cat", [], { stdinFile: "/etc/os-release" })).stdout).toContain("NAME=");
  const error = await failure(run("cat", [], { stdinFile: "/nonexistent/file" }));
  expect(error.message).toContain("/nonexistent/file");
});

test("a program without input sees its end", async () => {
  expect((await run("cat", [])).stdout).toBe("");
});

test("a program need not read what it is given", async () => {
  expect((await run("true", [], { stdin: "x".repeat(1024 * 1024) })).exitCode).toBe(0);
});

test("an exit code that is an answer is one", async () => {
  expect((await run("sh", ["-c", "exit 3"], { accept: [0, 3] })).exitCode).toBe(3);
});

test("an error has the exit code, the command and the last lines of what was said", async () => {
  const script = "for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 4";
  const error = await failure(run("sh", ["-c", script]));
  expect(error.code).toBe("program-failed");
  expect(error.message).toBe("sh exited with 4: line 3\nline 4\nline 5\nline 6\nline 7");
  expect(error.about).toContain("sh -c for i");
});

test("a program that does not end in time is ended, although it ignores signals", async () => {
  const error = await failure(
    run("sh", ["-c", "trap '' TERM; while :; do sleep 1; done"], { timeoutMs: 100 }),
  );
  expect(error.code).toBe("program-failed");
  expect(error.message).toBe("sh did not end within 100 ms");
});

test("a program that a signal ended", async () => {
  expect((await failure(run("sh", ["-c", "kill -9 $$"]))).message).toBe("sh was ended by SIGKILL");
});

test("a program that is not there names its package", async () => {
  const { PATH } = process.env;
  process.env["PATH"] = "/nonexistent";
  try {
    const error = await failure(run("dmsetup", ["status"]));
    expect(error.code).toBe("program-missing");
    expect(error.hint).toBe("apt-get install dmsetup");
  } finally {
    process.env["PATH"] = PATH;
  }
});
