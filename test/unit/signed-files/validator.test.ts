// `validator` as its users know it. Written from the reference's description of each behaviour of 0.2.2: its own test
// script is not part of this project.
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { pemFiles, signedPlace as signed, signedTree, validatorPlace } from "./validator-fixture.ts";

/** What is no file, link or directory. */
async function socketAt(path: string): Promise<AsyncDisposable> {
  const server = createServer().listen(path);
  await once(server, "listening");
  return server;
}

const help = "\n\nSee 'validator --help' for usage.\n";
describe("the command line", () => {
  test("without a command is refused", async () => {
    const at = await validatorPlace();
    expect(await at.run()).toMatchObject({ code: 1, out: "", err: `No command given${help}` });
    expect(await at.run("-v")).toMatchObject({ code: 1, err: `No command given${help}` });
  });
  test("has its command in the first word without a dash, whatever that word is", async () => {
    const at = await signed();
    const wrong = await at.run("--key", "secret.pem", "sign", "t/a");
    expect(wrong).toMatchObject({ code: 1, err: `Unsupported command 'secret.pem'${help}` });
    expect(await at.run("--key=public.pem", "validate", "t/a")).toMatchObject({ code: 0, err: "" });
    expect(await at.run("-v", "validate", "--key", "public.pem", "t/a")).toMatchObject({ code: 0 });
  });
  test("says its version, with or without a command", async () => {
    const at = await validatorPlace();
    for (const args of [["--version"], ["sign", "--version"]])
      expect(await at.run(...args)).toMatchObject({ code: 0, out: "validator 0.2.2\n", err: "" });
  });
  test.each([["--help"], ["-h"], ["sign", "--help"], ["install", "-rfh"]])("helps on %s", async (...args) => {
    const at = await validatorPlace();
    const { code, out, err } = await at.run(...args);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out).toMatch(/^Usage:\n/);
  });
  test("takes short options together, values apart or attached, and ends options at --", async () => {
    const at = await validatorPlace();
    await at.put({ "t/a": "A", "-x": "X" });
    expect(await at.run("sign", "-rfppre", "--key", "secret.pem", "t")).toMatchObject({ code: 0 });
    expect(await at.run("sign", "--key=secret.pem", "--", "-x")).toMatchObject({ code: 0, err: "" });
    expect(await at.run("validate", "--key=public.pem", "--", "-x")).toMatchObject({ code: 0, err: "" });
  });
  test.each([
    ["sign --nonsense", "Unknown option --nonsense"],
    ["sign -rx", "Unknown option -rx"],
    ["sign --recursive=yes", "Unknown option --recursive=yes"],
    ["validate -p x", "Unknown option -p"],
    ["sign --key", "Missing argument for --key"],
    ["install -p", "Missing argument for -p"],
    ["validate x", "No --key or --key-dirs argument given given"],
    ["install x y", "No --key or --key-dirs argument given given"],
    ["install --key=public.pem", "No destination given"],
    ["install --key=public.pem x", "No destination given"],
    ["install --config=none one", "No destination given"],
  ])("%s: %s", async (line, message) => {
    const at = await validatorPlace();
    expect(await at.run(...line.split(" "))).toMatchObject({ code: 1, out: "", err: `${message}${help}` });
  });
  test("is silent when all went well, and tells what it did with -v or G_MESSAGES_DEBUG", async () => {
    const at = await validatorPlace({ G_MESSAGES_DEBUG: "all" });
    await at.put({ a: "A" });
    const { err } = await at.run("sign", "--key=secret.pem", "a");
    expect(err).toBe(`Loaded private key 'secret.pem'\nWrote signature '${at.path("a")}.sig' (for path a)\n`);
    const quiet = await signed();
    const once = await quiet.run("validate", "-v", "-r", "--key=public.pem", "t/d");
    expect(once).toMatchObject({ code: 1 });
    const told = await quiet.run("validate", "-v", "--key=public.pem", "--relative-to=t", "t/d/c");
    expect(told.err).toBe(`Loaded public key 'public.pem'\n${quiet.path("t/d/c")} is valid (as d/c)\n`);
    expect((await quiet.run("validate", "-vvv", "--key=public.pem", "--relative-to=t", "t/d/c")).err).toBe(
      told.err,
    );
  });
});

describe("keys", () => {
  test("are loaded before the arguments are counted", async () => {
    const at = await validatorPlace();
    const { code, err } = await at.run("install", "--key=none.pem");
    expect(code).toBe(1);
    expect(err).toContain("none.pem: No such file or directory");
  });
  test("are PEM only", async () => {
    const at = await signed();
    const der = generateKeyPairSync("ed25519").publicKey.export({ type: "spki", format: "der" });
    await at.put({ "public.der": der });
    const { code, err } = await at.run("validate", "--key=public.der", "t/a");
    expect({ code, err }).toEqual({ code: 1, err: "Can't parse public key public.der: unsupported\n" });
    expect(await at.run("validate", "--key=secret.pem", "t/a")).toMatchObject({ code: 1 });
  });
  test("of a directory are all tried, and a broken one or a subdirectory stops everything", async () => {
    const at = await signed();
    const key = await readFile(at.path("public.pem"));
    const other = await readFile(at.path("other-public.pem"));
    await at.put({ "kd/1": other, "kd/2": key, "kd/3": { to: "nowhere" } });
    expect(await at.run("validate", "-r", "--key-dir=kd", "t")).toMatchObject({ code: 0, err: "" });
    await mkdir(at.path("kd/sub"));
    const { err } = await at.run("validate", "-r", "--key-dir=kd", "t");
    expect(err).toMatch(/kd\/sub: /);
  });
  test("of a directory that is not there are none, and nothing is valid", async () => {
    const at = await signed();
    const { code, err } = await at.run("validate", "--key-dir=none", "t/a");
    expect({ code, err }).toEqual({ code: 1, err: `Signature of '${at.path("t/a")}' is invalid (as a)\n` });
  });
  test.each([
    ["rsa", 264, () => generateKeyPairSync("rsa", { modulusLength: 2048 })],
    ["Ed448", 122, () => generateKeyPairSync("ed448")],
  ])("of kind %s sign as OpenSSL signs with them", async (_, size, make) => {
    const at = await validatorPlace();
    await at.put({ ...pemFiles("x-", make()), a: "A" });
    expect(await at.run("sign", "--key=x-secret.pem", "a")).toMatchObject({ code: 0 });
    expect((await stat(at.path("a.sig"))).size).toBe(size);
    expect(await at.run("validate", "--key=x-public.pem", "a")).toMatchObject({ code: 0 });
  });
  test("for ECDSA end it too when the signature of another kind begins as one of theirs does", async () => {
    const at = await signed();
    await at.put(pemFiles("ec-", generateKeyPairSync("ec", { namedCurve: "P-256" })));
    await at.put({
      "t/a.sig": Buffer.concat([Buffer.from("VALIDTR\x01\x30", "latin1"), Buffer.alloc(63, 7)]),
    });
    const { code, err } = await at.run("validate", "--key=ec-public.pem", "--key=public.pem", "t/a");
    expect(code).toBe(1);
    expect(err).toContain("(as a): Error validating digest");
  });
  test("for ECDSA before the right one end the search with an error", async () => {
    const at = await signed();
    await at.put(pemFiles("ec-", generateKeyPairSync("ec", { namedCurve: "P-256" })));
    const right = ["--key=public.pem", "t/a"];
    const { code, err } = await at.run("validate", "--key=ec-public.pem", ...right);
    expect(code).toBe(1);
    expect(err).toContain("(as a): Error validating digest");
    expect(await at.run("validate", ...right, "--key=ec-public.pem")).toMatchObject({ code: 0 });
  });
});

describe("sign", () => {
  test("signs files, hidden files and links below a directory, each by its path there", async () => {
    const at = await signed();
    expect(Object.keys(await at.tree("t"))).toEqual(
      expect.arrayContaining([".hidden.sig", "a.sig", "b.sig", "d/c.sig", "d/e.sig"]),
    );
    expect(await at.run("validate", "-r", "--key=public.pem", "t/")).toMatchObject({ code: 0, err: "" });
    expect((await stat(at.path("t/a.sig"))).mode & 0o777 & ~0o644).toBe(0);
  });
  test("stops at a directory without -r, and leaves the arguments after it", async () => {
    const at = await validatorPlace();
    await at.put({ "t/a": "A", x: "X", y: "Y" });
    const { code, err } = await at.run("sign", "--key=secret.pem", "x", "t", "y");
    expect({ code, err }).toEqual({
      code: 1,
      err: `error: '${at.path("t")}' is a directory and not in recursive mode\n`,
    });
    await stat(at.path("x.sig"));
    await expect(stat(at.path("y.sig"))).rejects.toThrow("ENOENT");
  });
  test("leaves a signature that is there, even of other content, unless it is forced", async () => {
    const at = await signed();
    await writeFile(at.path("t/a"), "changed");
    const { err } = await at.run("sign", "-v", "--key=secret.pem", "t/a");
    expect(err).toContain(`File '${at.path("t/a")}' already signed, ignoring\n`);
    expect(await at.run("validate", "--key=public.pem", "t/a")).toMatchObject({ code: 1 });
    await at.run("sign", "-f", "--key=secret.pem", "t/a");
    expect(await at.run("validate", "--key=public.pem", "t/a")).toMatchObject({ code: 0 });
  });
  test("passes over names that end in .sig, directories too, and goes on after a problem", async () => {
    const at = await validatorPlace();
    await at.put({ "t/x.sig/in": "I", "t/z": "Z", "t/lone.sig": "L" });
    await using _ = await socketAt(at.path("t/pipe"));
    const { code, err } = await at.run("sign", "-r", "--key=secret.pem", "t");
    expect({ code, err }).toEqual({ code: 1, err: `Unsupported file type for '${at.path("t/pipe")}'\n` });
    expect(Object.keys(await at.tree("t"))).toEqual(["lone.sig", "pipe", "x.sig", "x.sig/in", "z", "z.sig"]);
  });
  test("says what is not there, and what is outside", async () => {
    const at = await validatorPlace();
    await at.put({ "t/a": "A", "u/b": "B" });
    expect(await at.run("sign", "--key=secret.pem", "none")).toMatchObject({
      code: 1,
      err: `Can't access '${at.path("none")}': No such file or directory\n`,
    });
    expect(await at.run("sign", "--key=secret.pem", "--relative-to=t", "u/b")).toMatchObject({
      code: 1,
      err: `File '${at.path("u/b")}' not inside relative dir\n`,
    });
  });
  test("gives a link to a directory an empty name, where blob gives it its own", async () => {
    const at = await validatorPlace();
    await at.put({ "t/a": "A", dl: { to: "t" } });
    expect(await at.run("sign", "--key=secret.pem", "dl")).toMatchObject({ code: 1 });
    expect(await at.run("sign", "-v", "-r", "--key=secret.pem", "dl")).toMatchObject({
      code: 0,
      err: expect.stringContaining("(for path )"),
    });
    expect((await at.run("blob", "dl")).bytes.toString("latin1")).toBe("\x01dl\0t");
  });
});

describe("validate", () => {
  test("says what has no signature, and that of the others too", async () => {
    const at = await validatorPlace();
    await at.put(signedTree);
    const { code, err } = await at.run("validate", "-r", "--key=public.pem", "t");
    expect(code).toBe(1);
    expect(err.split("\n").filter((line) => line.startsWith("No signature for '"))).toHaveLength(5);
  });
  test("ignores signatures of nothing, and finds an empty tree valid", async () => {
    const at = await validatorPlace();
    await at.put({ "t/gone.sig": "x" });
    expect(await at.run("validate", "-r", "--key=public.pem", "t")).toMatchObject({ code: 0, err: "" });
  });
  test("does not open what is no file", async () => {
    const at = await validatorPlace();
    await using _ = await socketAt(at.path("p"));
    expect(await at.run("validate", "--key=public.pem", "p")).toMatchObject({
      code: 1,
      err: `Can't validate '${at.path("p")}' due to unsupported file type'\n`,
    });
  });
});

describe("completion", () => {
  test("proposes commands and the options of each", async () => {
    const at = await validatorPlace();
    expect((await at.run("__complete", "")).out).toContain("install\t\n");
    expect((await at.run("__complete", "sign", "--r")).out).toBe("--recursive\t\n--relative-to=\t\n");
    expect((await at.run("completion", "bash")).out).toContain("complete -o default");
  });
});
