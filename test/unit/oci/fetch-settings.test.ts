// fetch.json: what it may say, and that a wrong one is never guessed at.
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadFetchSettings, networkOf } from "../../../src/oci/fetch-settings.ts";
import { defaultLimits } from "../../../src/oci/limits.ts";
import { temporaryDirectory } from "../../support.ts";

const signal = new AbortController().signal;

async function settingsFile(text: string): Promise<string> {
  const path = join(await temporaryDirectory(), "fetch.json");
  await writeFile(path, text);
  return path;
}

const load = async (document: unknown) =>
  await loadFetchSettings([await settingsFile(JSON.stringify(document))]);

test("without a file: no mirrors, no proxy, no rate, and the usual patience", async () => {
  const settings = await loadFetchSettings(["/nowhere/fetch.json"]);
  expect(settings.parallel).toBe(3);
  const { mirrors, session } = await networkOf(settings, {}, signal);
  expect(mirrors.size).toBe(0);
  expect(session.limits).toEqual(defaultLimits);
  expect(session.rate).toBeUndefined();
  expect(session.proxies?.(new URL("https://registry.example"))).toBeUndefined();
});

test("the first file that is there holds, whole", async () => {
  const [first, second] = [
    await settingsFile('{"version":1,"parallel":2}'),
    await settingsFile('{"version":1,"rateLimit":5000}'),
  ];
  expect(await loadFetchSettings(["/nowhere", first, second])).toMatchObject({ parallel: 2 });
  expect((await loadFetchSettings([first, second])).rateLimit).toBeUndefined();
});

test("everything that it says is used", async () => {
  const settings = await load({
    version: 1,
    mirrors: { "Registry.example": ["cache.example", "http://10.0.0.5:5000/copies/"] },
    proxy: { url: "http://proxy.example:3128/" },
    rateLimit: 100_000,
    parallel: 8,
    patience: { connect: 1, answer: 2, idle: 0.5, bytesPerSecond: 10, window: 4 },
  });
  const { mirrors, session } = await networkOf(settings, { HTTPS_PROXY: "http://other:1" }, signal);
  expect(mirrors.get("registry.example")).toEqual([
    { scheme: "https", authority: "cache.example", prefix: "" },
    { scheme: "http", authority: "10.0.0.5:5000", prefix: "copies/" },
  ]);
  expect(session.proxies?.(new URL("https://registry.example"))?.name).toBe("proxy.example:3128");
  expect(session.limits).toMatchObject({
    ...{ connectMs: 1000, headersMs: 2000, idleMs: 500 },
    ...{ minBytesPerSecond: 10, rateWindowMs: 4000 },
  });
  expect(session.rate).toBeDefined();
});

describe("a file is refused with", () => {
  test.each<[string, unknown, RegExp]>([
    ["another version", { version: 2 }, /version/],
    ["an unknown key", { version: 1, mirror: {} }, /mirror: unknown key/],
    ["a mirror that is no address", { version: 1, mirrors: { "a.example": ["https://a b"] } }, /mirrors/],
    [
      "a mirror with a password",
      { version: 1, mirrors: { "a.example": ["https://u:p@b.example"] } },
      /mirrors/,
    ],
    ["a registry that is no host", { version: 1, mirrors: { "a.example/path": ["b.example"] } }, /mirrors/],
    ["no mirrors where some are named", { version: 1, mirrors: { "a.example": [] } }, /mirrors/],
    ["a proxy with a password", { version: 1, proxy: { url: "http://u:p@proxy" } }, /proxy.url/],
    ["a proxy over TLS", { version: 1, proxy: { url: "https://proxy" } }, /proxy.url/],
    ["a rate that nothing can be fetched with", { version: 1, rateLimit: 0 }, /rateLimit/],
    ["too many at a time", { version: 1, parallel: 100 }, /parallel/],
    ["no patience at all", { version: 1, patience: { idle: 0 } }, /patience.idle/],
  ])("%s", async (_, document, message) => {
    await expect(load(document)).rejects.toEqual(
      expect.objectContaining({ code: "fetch-settings-invalid", message: expect.stringMatching(message) }),
    );
  });

  test("a key twice", async () => {
    const path = await settingsFile('{"version":1,"version":1}');
    await expect(loadFetchSettings([path])).rejects.toMatchObject({ code: "fetch-settings-invalid" });
  });

  test("a mode that lets others write", async () => {
    const path = await settingsFile('{"version":1}');
    await chmod(path, 0o666);
    await expect(loadFetchSettings([path])).rejects.toMatchObject({ code: "fetch-settings-invalid" });
  });
});

describe("the proxy's password file is refused", () => {
  test.each([
    ["without a colon", "user\n"],
    ["without a user", ":password\n"],
    ["with two lines", "a:b\nc:d\n"],
    ["with what would be another header", "a:b\r\nX: y"],
    ["when it is empty", ""],
  ])("%s", async (_, text) => {
    const path = join(await temporaryDirectory(), "password");
    await writeFile(path, text, { mode: 0o600 });
    const settings = await load({ version: 1, proxy: { url: "http://proxy", passwordFile: path } });
    await expect(networkOf(settings, {}, signal)).rejects.toMatchObject({
      code: "fetch-settings-invalid",
      about: path,
    });
  });

  test("when it is not there", async () => {
    const settings = await load({ version: 1, proxy: { url: "http://proxy", passwordFile: "/nowhere" } });
    await expect(networkOf(settings, {}, signal)).rejects.toMatchObject({ code: "fetch-settings-invalid" });
  });
});
