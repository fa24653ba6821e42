// What validator lets pass, and --strict does not.
import { generateKeyPairSync } from "node:crypto";
import { lstat, mkdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { describe, expect, test, vi } from "vitest";
import { pemFiles, signedPlace as signed, validatorPlace } from "./validator-fixture.ts";

describe("with --strict", () => {
  test("all or nothing is installed", async () => {
    const at = await signed();
    await writeFile(at.path("t/a"), "other");
    const { code, err } = await at.run("install", "--strict", "-r", "--key=public.pem", "t", "out");
    expect({ code, err }).toEqual({
      code: 4,
      err: `Signature of '${at.path("t/a")}' (as 'a') is invalid [signed-file-invalid]\n`,
    });
    expect(await at.tree("out")).toEqual({});
  });
  test("the same files are installed, once", async () => {
    const at = await signed();
    const install = () => at.run("install", "--strict", "-rv", "--key=public.pem", "t", "out");
    expect(await install()).toMatchObject({ code: 0, err: expect.stringContaining("Installed file") });
    expect(await at.tree("out")).toEqual({
      ".hidden": "h",
      a: "A",
      b: "-> a",
      d: "/",
      "d/c": "C",
      "d/e": "-> c",
    });
    const again = await install();
    expect(again.err).not.toContain("Installed file");
    expect(again.code).toBe(0);
  });
  test.each([
    [
      "a source that is not there",
      ["install", "--key=public.pem", "none", "out"],
      "signed-source-missing",
      3,
    ],
    ["a link to nowhere", ["install", "--key=public.pem", "dangling", "out"], "signed-source-unusable", 3],
    ["a directory without -r", ["install", "--key=public.pem", "t", "out"], "signed-source-unusable", 3],
    ["an empty tree", ["install", "-r", "--key=public.pem", "empty", "out"], "signed-source-missing", 3],
    ["an empty tree", ["validate", "-r", "--key=public.pem", "empty"], "signed-source-unusable", 3],
    ["a signature of nothing", ["validate", "-r", "--key=public.pem", "lone"], "signed-file-unsigned", 4],
    ["a configuration that is not there", ["install", "--config=none"], "signed-config-invalid", 3],
    ["a configuration of another name", ["install", "--config-dir=odd"], "signed-config-invalid", 3],
    ["no directory of keys", ["validate", "--key-dir=none", "t/a"], "signed-key-invalid", 3],
    ["a directory without keys", ["validate", "--key-dir=empty", "t/a"], "signed-key-invalid", 3],
    ["a key of another kind", ["validate", "--key=ec-public.pem", "t/a"], "signed-key-invalid", 3],
    ["a signature of other content", ["sign", "--key=other-secret.pem", "t/a"], "signed-file-invalid", 4],
    [
      "a link without a name",
      ["sign", "-r", "--key=secret.pem", "--relative-to=dl", "dl"],
      "signed-name-invalid",
      3,
    ],
  ])("%s is refused", async (_, args, code, exit) => {
    const at = await signed();
    await at.put({
      dangling: { to: "nowhere" },
      dl: { to: "t" },
      "lone/x.sig": "S",
      "lone/y": "Y",
      "odd/v.boot": "[install]\ndestination=out\nsources=t\nkeys=public.pem\n",
      ...pemFiles("ec-", generateKeyPairSync("ec", { namedCurve: "P-256" })),
    });
    await mkdir(at.path("empty"));
    const ran = await at.run("--strict", ...args);
    expect(ran.err).toContain(`[${code}]`);
    expect(ran.code).toBe(exit);
    expect(await at.tree("out")).toEqual({});
  });
  test.each([
    "destination=out \n",
    "destination=out # x\n",
    "destination=out\ndestination=out\n",
    "destination=out\nsource=t\n",
  ])("a configuration with %j is refused", async (text) => {
    const at = await signed();
    await at.put({ "v.conf": `[install]\n${text}sources=t\nkeys=public.pem\n` });
    const { code, err } = await at.run("install", "--strict", "--config=v.conf");
    expect(code).toBe(3);
    expect(err).toContain("[signed-config-invalid]");
  });
  test.each(["/etc/passwd", "../../outside", "missing", "b/c"])(
    "a signed link to %s is refused",
    async (to) => {
      const at = await validatorPlace();
      await at.put({ "t/a": "A", "t/b": { to: "a" }, "t/l": { to } });
      await at.run("sign", "-r", "--key=secret.pem", "t");
      const { code, err } = await at.run("install", "--strict", "-r", "--key=public.pem", "t", "out");
      expect(code).toBe(4);
      expect(err).toContain("[signed-link-refused]");
      expect(await at.tree("out")).toEqual({});
    },
  );
  test("a signed link to an unsigned directory is refused, which activates anything", async () => {
    const at = await validatorPlace();
    await at.put({ "t/active": { to: "quadlets" } });
    await at.run("sign", "-r", "--key=secret.pem", "t");
    await at.put({ "t/quadlets/evil.container": "[Container]\n" });
    expect(await at.run("install", "-r", "--key=public.pem", "t/active", "loose")).toMatchObject({ code: 1 });
    expect(await at.run("install", "--strict", "-r", "--key=public.pem", "t", "out")).toMatchObject({
      code: 4,
    });
  });
  test("a link in the way is not followed, neither to a directory nor to a file", async () => {
    const at = await signed();
    await at.put({ "victim/c": "V", "out/d": { to: "../victim" } });
    const install = () => at.run("install", "--strict", "-rf", "--key=public.pem", "t", "out");
    expect(await install()).toMatchObject({
      code: 4,
      err: expect.stringContaining("[signed-destination-unsafe]"),
    });
    expect(await at.tree("victim")).toEqual({ c: "V" });
  });
  test("other content at the destination is an error, and replaced by force", async () => {
    const at = await signed();
    await at.put({ "out/a": "mine", victim: "V", "out/.hidden": { to: "../victim" } });
    const args = ["--strict", "-r", "--key=public.pem", "t", "out"];
    expect(await at.run("install", ...args)).toMatchObject({ code: 4 });
    expect(await at.run("install", "-f", ...args)).toMatchObject({ code: 0 });
    expect(await at.tree("out")).toMatchObject({ a: "A", ".hidden": "h" });
    expect(await readFile(at.path("victim"), "utf8")).toBe("V");
  });
  test("nothing is written, and nothing left behind, where the last of many files cannot be", async () => {
    const at = await signed();
    await at.put({ "out/d/e": "mine" });
    expect(await at.run("install", "--strict", "-r", "--key=public.pem", "t", "out")).toMatchObject({
      code: 4,
      err: expect.stringContaining("[signed-destination-unsafe]"),
    });
    expect(await at.tree("out")).toEqual({ d: "/", "d/e": "mine" });
  });
  test("a directory is never replaced by a file", async () => {
    const at = await signed();
    await mkdir(at.path("out/a"), { recursive: true });
    expect(await at.run("install", "--strict", "-rf", "--key=public.pem", "t", "out")).toMatchObject({
      code: 4,
    });
    expect((await lstat(at.path("out/a"))).isDirectory()).toBe(true);
  });
  test("names of single files are relative to where it was said", async () => {
    const at = await signed();
    const args = ["--key=public.pem", "--relative-to=t", "t/d/c", "out"];
    expect(await at.run("install", "--strict", ...args)).toMatchObject({ code: 0 });
    expect(await at.tree("out")).toEqual({ c: "C" });
  });
  test("a link that is planted while files are installed is not written through", async () => {
    const at = await signed();
    await at.put({ "victim/c": "V", "out/d/keep": "" });
    const durable = await import("../../../src/system/durable.ts");
    const { rename: original } = durable;
    // Everything was checked and lies beside its place.
    const spy = vi.spyOn(durable, "rename").mockImplementationOnce(async (from, to) => {
      await rename(at.path("out/d"), at.path("moved"));
      await symlink(at.path("victim"), at.path("out/d"));
      await original(from, to);
    });
    const { code } = await at.run("install", "--strict", "-rf", "--key=public.pem", "t", "out");
    spy.mockRestore();
    expect(code).toBe(4);
    expect(await at.tree("victim")).toEqual({ c: "V" });
  });
  test("a link that takes the place of a signed file is not followed", async () => {
    const at = await signed();
    await at.put({ outside: "A" });
    await rm(at.path("t/a"));
    await symlink("../outside", at.path("t/a"));
    expect(await at.run("validate", "--strict", "--key=public.pem", "t/a")).toMatchObject({ code: 4 });
  });
});
