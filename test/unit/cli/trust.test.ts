import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { execute } from "../../../src/cli/frame.ts";
import { app } from "../../../src/cli/trust/app.ts";
import { recordingTerminal } from "./terminal.ts";

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "trust-cli-"));
  await trust("keyset", "add", "demo", "--org", "Example Ltd", "--key-type", "p256");
  await trust("project", "add", "demo", "zot");
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

async function trust(...argv: readonly string[]) {
  const terminal = recordingTerminal({ MOS_KEYSETS: root });
  const exit = await execute(app, argv, terminal);
  return { exit, out: terminal.out(), err: terminal.err() };
}

async function json(...argv: readonly string[]) {
  const { out, err } = await trust(...argv, "--json");
  expect(err).toBe("");
  return JSON.parse(out);
}

test.each([
  ["keyset", "add"],
  ["keyset", "list"],
  ["keyset", "show"],
  ["project", "add"],
  ["project", "list"],
  ["sign", "efi"],
  ["verify", "efi"],
  ["computePCR7"],
  ["efivars"],
  ["attest", "nonce"],
  ["attest", "verify"],
  ["completion"],
])("trust %s %s explains itself with examples", async (...route) => {
  const { exit, out } = await trust(...route, "--help");
  expect([exit, out]).toEqual([0, expect.stringMatching(/EXAMPLES\n {2}\S/)]);
});

describe("trust keyset", () => {
  test("add says where the CA is, and what comes next", async () => {
    const { exit, out } = await trust("keyset", "add", "fresh", "--key-type", "p256");
    expect(exit).toBe(0);
    expect(out).toContain(join(root, "fresh/manifest-ca/cert.pem"));
    expect(out).toContain("Next: trust project add fresh PROJECT");
    await rm(join(root, "fresh"), { recursive: true });
  });

  test("add does not touch an existing keyset", async () => {
    const { exit, err } = await trust("keyset", "add", "demo");
    expect([exit, err]).toEqual([3, expect.stringContaining("code: keyset-exists")]);
  });

  test("list shows keysets with their projects, and not what else lies there", async () => {
    await writeFile(join(root, "notes.txt"), "");
    expect((await trust("keyset", "list")).out).toMatch(/^demo +P-256 +\d{4}-\d\d-\d\d +zot$/m);
    expect(await json("keyset", "list")).toMatchObject({
      directory: root,
      keysets: [{ name: "demo", projects: ["zot"], manifestCa: { isCa: true } }],
    });
  });

  test("show prints keys, a key, a value and a path", async () => {
    expect((await trust("keyset", "show", "demo")).out.split("\n")).toHaveLength(13);
    expect((await trust("keyset", "show", "demo", "manifest:zot")).out).toContain("CN=manifest PRODUCT:");
    const pem = await readFile(join(root, "demo/manifest-ca/cert.pem"), "utf8");
    expect((await trust("keyset", "show", "demo", "manifest-ca", "--value")).out).toBe(pem);
    expect((await trust("keyset", "show", "demo", "manifest-ca", "cert.pem", "--path")).out).toBe(
      `${root}/demo/manifest-ca/cert.pem\n`,
    );
    expect((await trust("keyset", "show", "demo", "--path")).out).toBe(`${root}/demo\n`);
    expect(await json("keyset", "show", "demo", "uefi-db")).toMatchObject({ key: "uefi-db", values: {} });
  });

  test("show refuses a private key and says why, but tells its path", async () => {
    const { exit, out, err } = await trust("keyset", "show", "demo", "manifest-ca", "privkey.pem");
    expect([exit, out]).toEqual([3, ""]);
    expect(err).toContain("mos never prints one");
    expect((await trust("keyset", "show", "demo", "manifest-ca", "privkey.pem", "--path")).exit).toBe(0);
  });

  test("never prints a private key, whatever it is asked", async () => {
    const asked = [
      ["keyset", "list"],
      ["keyset", "show", "demo"],
      ["keyset", "show", "demo", "manifest-ca"],
      ["keyset", "show", "demo", "manifest-ca", "privkey.pem", "--value"],
      ["keyset", "show", "demo", "manifest-ca", "privkey.pem", "--path"],
      ["project", "list", "demo"],
    ];
    const secret = (await readFile(join(root, "demo/manifest-ca/privkey.pem"), "utf8")).split("\n")[1] ?? "";
    for (const argv of asked.flatMap((words) => [words, [...words, "--json"]])) {
      const { out, err } = await trust(...argv);
      expect(out + err).not.toContain(secret);
      expect(out + err).not.toContain("PRIVATE KEY");
    }
  });

  test("show refuses --path and --value together, and a value of nothing", async () => {
    expect((await trust("keyset", "show", "demo", "--path", "--value")).exit).toBe(2);
    expect((await trust("keyset", "show", "demo", "--value")).exit).toBe(2);
  });

  test("show names what there is when there is no such keyset or key", async () => {
    expect((await trust("keyset", "show", "nothing")).err).toContain("code: keyset-unknown");
    expect((await trust("keyset", "show", "demo", "nothing")).err).toContain("It has manifest-ca,");
  });

  test("is completed with the names of keysets", async () => {
    expect((await trust("__complete", "keyset", "show", "d")).out).toMatch(/^demo\t/);
  });
});

describe("trust project", () => {
  test("add makes a product of its own", async () => {
    const { uuid, path } = await json("project", "add", "demo", "second");
    expect(await readFile(join(path, "uuid"), "utf8")).toBe(uuid);
    expect((await trust("project", "list", "demo")).out).toContain(uuid);
    await rm(path, { recursive: true });
  });

  test("list shows the projects, or how to make one", async () => {
    expect(await json("project", "list", "demo")).toMatchObject({ projects: [{ name: "zot" }] });
    await trust("keyset", "add", "none", "--key-type", "p256");
    expect((await trust("project", "list", "none")).out).toContain("trust project add none PROJECT");
    await rm(join(root, "none"), { recursive: true });
  });
});
