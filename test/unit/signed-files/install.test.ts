// `validator install`, from the command line and from configurations, as 0.2.2 does it.
import { chmod, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { signedPlace as signed, validatorPlace } from "./validator-fixture.ts";

describe("install", () => {
  test("writes what is valid, and says what is not", async () => {
    const at = await signed();
    await writeFile(at.path("t/a"), "other");
    const { code, err } = await at.run("install", "-r", "--key=public.pem", "t", "out");
    expect({ code, err }).toEqual({
      code: 1,
      err: `Signature of '${at.path("t/a")}' (as 'a') is invalid\n`,
    });
    expect(await at.tree("out")).toEqual({ ".hidden": "h", b: "-> a", d: "/", "d/c": "C", "d/e": "-> c" });
  });
  test("makes no directory for what is not signed", async () => {
    const at = await signed();
    await at.put({ "t/new/x": "X" });
    expect(await at.run("install", "-r", "--key=public.pem", "t", "out")).toMatchObject({ code: 1 });
    expect(await at.tree("out")).not.toHaveProperty("new");
  });
  test("replaces nothing but a link to nowhere, unless it is forced", async () => {
    const at = await signed();
    await at.put({
      "out/a": "mine",
      "out/d/c": { to: "nowhere" },
      elsewhere: "E",
      "out/.hidden": { to: "../elsewhere" },
    });
    const { code, err } = await at.run("install", "-rv", "--key=public.pem", "t", "out");
    expect(code).toBe(0);
    expect(err).toContain(`File '${at.path("out/a")}' already exist, ignoring\n`);
    expect(await at.tree("out")).toMatchObject({ a: "mine", "d/c": "C" });
    expect(await at.run("install", "-rf", "--key=public.pem", "t", "out")).toMatchObject({
      code: 0,
      err: "",
    });
    expect(await at.tree("out")).toMatchObject({ a: "A", ".hidden": "h" });
    expect(await readFile(at.path("elsewhere"), "utf8")).toBe("E");
  });
  test("writes mode 0644, whatever the source has, and leaves no temporary file", async () => {
    const at = await signed();
    await chmod(at.path("t/a"), 0o755);
    await at.run("install", "-r", "--key=public.pem", "t", "out");
    expect((await stat(at.path("out/a"))).mode & 0o111).toBe(0);
    expect(Object.keys(await at.tree("out"))).toEqual([".hidden", "a", "b", "d", "d/c", "d/e"]);
  });
  test("removes nothing", async () => {
    const at = await signed();
    await at.put({ "out/stale": "S" });
    await at.run("install", "-rf", "--key=public.pem", "t", "out");
    expect(await at.tree("out")).toHaveProperty("stale", "S");
  });
  test("passes over sources that are not there, and directories without -r, as if all were well", async () => {
    const at = await signed();
    await at.put({ dangling: { to: "nowhere" } });
    const { code, err } = await at.run("install", "--key=public.pem", "none", "dangling", "t", "out");
    expect(code).toBe(0);
    expect(err).toBe(`error: '${at.path("t")}' is a directory and not in recursive mode\n`);
  });
  test("knows a single file by its name alone, whatever names are relative to", async () => {
    const at = await signed();
    const args = ["install", "--key=public.pem", "--relative-to=t", "t/d/c", "out"];
    expect((await at.run(...args)).err).toBe(`Signature of '${at.path("t/d/c")}' (as 'c') is invalid\n`);
  });
  test("checks names with a prefix, and installs without it", async () => {
    const at = await validatorPlace();
    await at.put({ "t/a": "A" });
    await at.run("sign", "-r", "-p", "/etc", "--key=secret.pem", "t");
    expect(await at.run("install", "-r", "--key=public.pem", "t", "no")).toMatchObject({ code: 1 });
    expect(await at.run("install", "-r", "-p", "etc/", "--key=public.pem", "t", "out")).toMatchObject({
      code: 0,
    });
    expect(await at.tree("out")).toEqual({ a: "A" });
  });
});

describe("a configuration", () => {
  test("says what to install, with everything below and by force", async () => {
    const at = await signed();
    await at.put({
      "out/a": "old",
      "v.conf": `[install]\ndestination=${at.path("out")}\nsources=t;\nkeys=${at.path("public.pem")}\n`,
    });
    expect(await at.run("install", "--config=v.conf")).toMatchObject({ code: 0, err: "" });
    expect(await at.tree("out")).toMatchObject({ a: "A", "d/c": "C" });
  });
  test("has its own keys and no others", async () => {
    const at = await signed();
    await at.put({ "v.conf": "[install]\ndestination=out\nsources=t\n" });
    expect(await at.run("install", "--key=public.pem", "--config=v.conf")).toMatchObject({ code: 1 });
    expect(await at.tree("out")).toEqual({});
  });
  test("that is not there is no problem, nor is its directory", async () => {
    const at = await validatorPlace();
    expect(await at.run("install", "--config=none", "--config-dir=none")).toMatchObject({ code: 0, err: "" });
  });
  test("of a directory is every file, whatever its name", async () => {
    const at = await signed();
    const config = (to: string) => `[install]\ndestination=${to}\nsources=t\nkeys=public.pem\n`;
    await at.put({ "c/1": config("one"), "c/2.boot": config("two") });
    expect(await at.run("install", "--config-dir=c")).toMatchObject({ code: 0, err: "" });
    expect([await at.tree("one"), await at.tree("two")]).toEqual([
      expect.objectContaining({ a: "A" }),
      expect.objectContaining({ a: "A" }),
    ]);
    await mkdir(at.path("c/sub"));
    expect(await at.run("install", "--config-dir=c")).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^Can't load config file '.*c\/sub': Not a regular file\n$/),
    });
  });
  test.each([
    [
      "sources=t",
      "Can't get destination from config file 'v.conf': Key file does not have key “destination”",
    ],
    ["destination=out", "Can't get sources from config file 'v.conf': Key file does not have key “sources”"],
    ["destination=\nsources=t", "Can't get destination from config file 'v.conf': "],
    ["destination=out\nsources=t\nrecursive=yes", "Can't parse recursive option from config file 'v.conf': "],
    ["nonsense", "Can't load config file 'v.conf': "],
  ])("with %j is refused, and the next one is read", async (text, message) => {
    const at = await signed();
    await at.put({
      "v.conf": `[install]\n${text}\n`,
      "w.conf": "[install]\ndestination=w\nsources=t\nkeys=public.pem\n",
    });
    const { code, err } = await at.run("install", "--config=v.conf", "--config=w.conf");
    expect(code).toBe(1);
    expect(err).toContain(message);
    expect(await at.tree("w")).toHaveProperty("a");
  });
  test("with a key that is not there ends everything", async () => {
    const at = await signed();
    await at.put({
      "v.conf": "[install]\ndestination=out\nsources=t\nkeys=none\n",
      "w.conf": "[install]\ndestination=w\nsources=t\nkeys=public.pem\n",
    });
    expect(await at.run("install", "--config=v.conf", "--config=w.conf")).toMatchObject({ code: 1 });
    expect(await at.tree("w")).toEqual({});
  });
  test("takes a prefix as it is written", async () => {
    const at = await validatorPlace();
    await at.put({ "t/a": "A" });
    await at.run("sign", "-r", "-p", "etc/foo", "--key=secret.pem", "t");
    const config = (prefix: string) =>
      `[install]\ndestination=out\nsources=t\nkeys=public.pem\npath_prefix=${prefix}\n`;
    await at.put({ "good.conf": config("etc/foo"), "bad.conf": config("/etc/foo") });
    expect(await at.run("install", "--config=bad.conf")).toMatchObject({ code: 1 });
    expect(await at.run("install", "--config=good.conf")).toMatchObject({ code: 0 });
    expect(await at.run("install", "--strict", "--config=bad.conf")).toMatchObject({ code: 0 });
  });
});
