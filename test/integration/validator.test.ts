// `validator` as a process: called by its own name, by paths that are no text, and with its output in a pipe.
import { spawnSync } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { run } from "../../src/system/process.ts";
import { temporaryDirectory } from "../support.ts";

const main = join(import.meta.dirname, "../../src/main.ts");

async function place() {
  const directory = await temporaryDirectory();
  const at = (name: string): string => join(directory, name);
  await run("openssl", ["genpkey", "-algorithm", "ed25519", "-out", at("secret.pem")]);
  await run("openssl", ["pkey", "-in", at("secret.pem"), "-pubout", "-out", at("public.pem")]);
  // As the executable is called: argv[1] is the name that was typed.
  const shell = (script: string) => {
    const text = `validator() { ${process.execPath} --disable-warning=ExperimentalWarning ${main} validator "$@"; }\n${script}`;
    const { status, stdout, stderr } = spawnSync("bash", ["-c", text], { cwd: directory });
    return { status, stdout, stderr: stderr.toString("latin1") };
  };
  return { at, shell };
}

test("OpenSSL makes the same signature of what blob prints", async () => {
  const { at, shell } = await place();
  writeFileSync(at("a"), "A");
  const script = `validator sign --key=secret.pem -p pre a && validator blob -p pre a > blob &&
openssl pkeyutl -sign -rawin -inkey secret.pem -in blob -out raw && { printf 'VALIDTR\\001'; cat raw; } | cmp - a.sig`;
  expect(shell(script)).toMatchObject({ status: 0, stderr: "" });
});

test("a signature that OpenSSL made is valid", async () => {
  const { at, shell } = await place();
  writeFileSync(at("a"), "A");
  const script = `{ printf '\\0a\\0'; openssl dgst -sha512 -binary a; } > blob &&
openssl pkeyutl -sign -rawin -inkey secret.pem -in blob -out raw && { printf 'VALIDTR\\001'; cat raw; } > a.sig &&
validator validate -v --key public.pem a`;
  const { status, stderr } = shell(script);
  expect(status).toBe(0);
  expect(stderr).toContain("is valid (as a)");
});

test("a name that is no UTF-8 is signed by its bytes, and installed by them", async () => {
  const { shell } = await place();
  const name = "$'t/\\xff\\xfe'";
  const script = `mkdir t && echo x > ${name} && validator sign --key=secret.pem ${name} && test -f ${name}.sig &&
validator validate -r --key=public.pem t && validator install -r --key=public.pem t out && cmp ${name} $'out/\\xff\\xfe' &&
validator blob ${name}`;
  const { status, stdout, stderr } = shell(script);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout.subarray(0, 4).toString("hex")).toBe("00fffe00");
});

test("its own name in argv[0] is enough, and the message says how it was called", async () => {
  const { at } = await place();
  // A script stands for the executable, which tells its names apart by the same word.
  writeFileSync(at("validator"), `import(${JSON.stringify(main)})`);
  chmodSync(at("validator"), 0o755);
  const called = spawnSync(process.execPath, [
    "--disable-warning=ExperimentalWarning",
    at("validator"),
    "--version",
  ]);
  expect(called.stdout.toString()).toBe("validator 0.2.2\n");
  const wrong = spawnSync(process.execPath, [
    "--disable-warning=ExperimentalWarning",
    at("validator"),
    "nonsense",
  ]);
  expect(wrong.status).toBe(1);
  expect(wrong.stderr.toString()).toBe(
    `Unsupported command 'nonsense'\n\nSee '${at("validator")} --help' for usage.\n`,
  );
});
