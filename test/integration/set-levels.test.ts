// Sets in levels by command: signing them, and seeing what comes from where. What is installed is in
// test/unit/signed-sets/levels.test.ts, and on a device in test/machine/initrd.test.ts.
import { generateKeyPairSync } from "node:crypto";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { run } from "../../src/system/process.ts";
import { everybody, levelPlace, ofClass, ofMachine } from "../unit/signed-sets/level-fixture.ts";
import { put } from "../unit/signed-sets/set-fixture.ts";

const { publicKey, privateKey } = generateKeyPairSync("ed25519");

const mos = (...args: string[]) =>
  run(process.execPath, ["src/main.ts", ...args], { accept: [0, 1, 2, 3, 4, 5, 6, 7, 8] });

async function place() {
  const at = await levelPlace();
  await put(at.path("files"), { a: "A" });
  await writeFile(at.path("secret.pem"), privateKey.export({ type: "pkcs8", format: "pem" }));
  await writeFile(at.path("public.pem"), publicKey.export({ type: "spki", format: "pem" }));
  const about = ["--name", "fleet", "--serial", "3", "--destination", "/etc/fleet", "--json"];
  const sign = (...whom: string[]) =>
    mos("mosb", "set", "sign", "--key", at.path("secret.pem"), ...about, ...whom, at.path("files"));
  return { ...at, sign };
}

describe("a level of a set", () => {
  test.each([
    [["--everybody"], everybody],
    [["--class", "kiosk", "--class", "desk", "--class", "kiosk"], ofClass("desk", "kiosk")],
    [["--host", "0a1b-2c3d"], ofMachine("0a1b-2c3d")],
  ])("is signed for whom it is: %j", async (whom, audience) => {
    const at = await place();
    const { exitCode, stdout } = await at.sign(...whom);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ name: "fleet", for: audience });
    expect(JSON.parse(await readFile(at.path("files/.mos-set.json"), "utf8"))).toMatchObject({
      for: audience,
    });
  });
  test.each([
    [["--everybody", "--host", "m1"], "usage"],
    [["--class", "A"], "set-invalid"],
    [["--host", "a machine"], "set-invalid"],
  ])("is not signed for nobody, or for several: %j", async (whom, code) => {
    const at = await place();
    const { stdout } = await at.sign(...whom);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code } });
  });
  test("does not go into an image by command, because nobody knows which device that will be", async () => {
    const at = await place();
    await at.sign("--everybody");
    const flags = ["--json", "--root", at.root, "--key", at.path("public.pem")];
    const { exitCode, stdout } = await mos("mosctl", "set", "install", ...flags, at.path("files"));
    expect([exitCode, JSON.parse(stdout)]).toMatchObject([2, { error: { code: "usage" } }]);
    expect(JSON.parse(stdout)).toMatchObject({
      error: { hint: expect.stringContaining("/usr/lib/mos/sets") },
    });
  });
});

describe("what is installed of a set in levels", () => {
  test("is listed level by level, and file by file", async () => {
    const at = await place();
    await at.level(everybody, { a: "A", "d/b": "B" }, 4);
    await at.ofImage(ofClass("kiosk"), { "d/b": "kiosk's" }, 2, "kiosk");
    await at.boot();
    await mkdir(at.path("root/var/lib/mos"), { recursive: true });
    await symlink(at.state, at.path("root/var/lib/mos/sets"));
    const list = await mos("mosctl", "set", "list", "--root", at.root);
    expect(list.stdout.split("\n").map((line) => line.trim().split(/ {2,}/))).toEqual([
      ["SET", "SERIAL", "DESTINATION", "ENTRIES", "FROM"],
      ["quadlets", "/etc/quadlets", "3"],
      ["class:kiosk", "2", "1", "the image"],
      ["everybody", "4", "1", "this device"],
      [""],
    ]);
    const files = await mos("mosctl", "set", "files", "quadlets", "--root", at.root);
    expect(files.stdout.split("\n").map((line) => line.trim().split(/ {2,}/))).toEqual([
      ["FILE", "LEVEL"],
      ["/etc/quadlets/a", "everybody"],
      ["/etc/quadlets/d/b", "class:kiosk"],
      [""],
    ]);
    const none = await mos("mosctl", "set", "files", "other", "--root", at.root, "--json");
    expect(JSON.parse(none.stdout)).toMatchObject({ error: { code: "set-conflict" } });
  });
});
