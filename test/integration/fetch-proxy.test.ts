// A device behind an HTTP proxy (fault F10): the registry's name is in no DNS, so nothing can come but through it.
import { chmod, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { proxiesOf } from "../../src/oci/proxy.ts";
import { Registry } from "../../src/oci/registry.ts";
import { Session } from "../../src/oci/session.ts";
import { collect, failsWith, manifest, manifestHeaders, serve, serveTls, short } from "./bad-registry.ts";
import { startProxy } from "./connect-proxy.ts";
import { impatient, type PublishedSet, publishSet, setFetch, updateTo } from "./fetch-fixture.ts";
import { serveLayout } from "./layout-server.ts";
import { makeSigners, newDevice, type Signers } from "./refusals-fixture.ts";
import { expectWhole } from "./through-fault.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let signers: Signers;
let set: PublishedSet;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  set = await publishSet(work, signers, [1500, 100]);
});
afterAll(() => rm(work, { recursive: true, force: true }));

const userinfo = "device:se:cret";

/** A registry that only the proxy can find. */
async function hiddenRegistry(): Promise<string> {
  const port = (await serveLayout(set.directory)).split(":")[1];
  return `http://registry.invalid:${port}/machine/install:1.0.0`;
}

async function passwordFile(text: string, mode = 0o600): Promise<string> {
  const path = join(work, "proxy-password");
  await writeFile(path, text);
  await chmod(path, mode);
  return path;
}

test("an update comes through the proxy, small documents and large layers alike", async () => {
  const proxy = await startProxy();
  const [device, reference] = [await newDevice(signers), await hiddenRegistry()];
  await setFetch(device, { proxy: { url: `http://${proxy.authority}` } });
  expect(await updateTo(device, reference)).toMatchObject({ code: "updated" });
  await expectWhole(device, set);
  expect(new Set(proxy.asked)).toEqual(new Set([reference.slice("http://".length).split("/")[0]]));
});

test("the proxy is told the name and password of a file that only root can read", async () => {
  const proxy = await startProxy({ userinfo });
  const [device, reference] = [await newDevice(signers), await hiddenRegistry()];
  const url = `http://${proxy.authority}`;
  await setFetch(device, { proxy: { url, passwordFile: await passwordFile(`${userinfo}\n`) } });
  expect(await updateTo(device, reference)).toMatchObject({ code: "updated" });
  await expectWhole(device, set);
});

describe("an update is refused, and says so, when", () => {
  test.each([
    ["no name and password are set", undefined, /wants a name and password \(407\)/],
    ["they are wrong", "device:other", /does not accept the name and password \(407\)/],
  ])("the proxy wants a log-in and %s", async (_, known, message) => {
    const proxy = await startProxy({ userinfo });
    const [device, reference] = [await newDevice(signers), await hiddenRegistry()];
    const more = known === undefined ? {} : { passwordFile: await passwordFile(known) };
    await setFetch(device, { proxy: { url: `http://${proxy.authority}`, ...more } });
    const error = await updateTo(device, reference);
    expect(error).toEqual(failsWith("proxy-refused", message));
    expect(JSON.stringify(error.toDocument())).not.toContain("other");
  });

  test("the password file can be read by others", async () => {
    const [device, reference] = [await newDevice(signers), await hiddenRegistry()];
    const proxy = { url: "http://127.0.0.1:1", passwordFile: await passwordFile(userinfo, 0o644) };
    await setFetch(device, { proxy });
    const error = await updateTo(device, reference);
    expect(error).toEqual(failsWith("fetch-settings-invalid", /others can read it/));
    expect(error.message).not.toContain("cret");
  });

  test.each<[string, string | undefined, RegExp]>([
    ["it refuses the host", "HTTP/1.1 403 Forbidden\r\n\r\n", /answered 403/],
    ["it cannot reach the host", "HTTP/1.1 502 Bad Gateway\r\n\r\n", /answered 502/],
    ["it is no proxy", "SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n", /does not answer in HTTP/],
    ["its headers do not end", `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(10_000)}`, /too large headers/],
    ["it speaks in the registry's place", "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", /more than/],
    ["it does not answer", undefined, /no connection within 5 s/],
  ])("%s", async (_, answer, message) => {
    const proxy = await startProxy({
      answer: (socket) => {
        if (answer !== undefined) socket.write(answer);
      },
    });
    const [device, reference] = [await newDevice(signers), await hiddenRegistry()];
    await setFetch(device, { proxy: { url: `http://${proxy.authority}` }, ...impatient });
    expect(await updateTo(device, reference)).toEqual(failsWith("proxy-refused", message));
  });

  test("it closes the connection", async () => {
    const proxy = await startProxy({ answer: (socket) => socket.end() });
    const [device, reference] = [await newDevice(signers), await hiddenRegistry()];
    await setFetch(device, { proxy: { url: `http://${proxy.authority}` } });
    expect(await updateTo(device, reference)).toEqual(failsWith("proxy-refused", /closed the connection/));
  });

  test("nothing listens there", async () => {
    const { authority, server } = await serve(() => undefined);
    await new Promise((resolve) => server.close(resolve));
    const [device, reference] = [await newDevice(signers), await hiddenRegistry()];
    await setFetch(device, { proxy: { url: `http://${authority}` } });
    expect(await updateTo(device, reference)).toEqual(failsWith("proxy-refused", /refused/));
  });
});

test("what is excepted, and this machine itself, is reached without the proxy", async () => {
  const proxy = await startProxy({ answer: (socket) => socket.destroy() });
  const device = await newDevice(signers);
  await setFetch(device, { proxy: { url: `http://${proxy.authority}`, except: [".invalid"] } });
  const authority = await serveLayout(set.directory);
  expect(await updateTo(device, `${authority}/machine/install:1.0.0`)).toMatchObject({
    code: "updated",
  });
  expect(await updateTo(device, await hiddenRegistry())).toEqual(failsWith("registry-unreachable", /DNS/));
  expect(proxy.asked).toEqual([]);
});

test("without settings the environment names the proxy", async () => {
  const proxy = await startProxy({ userinfo: "a:b c" });
  vi.stubEnv("HTTP_PROXY", `http://a:b%20c@${proxy.authority}`);
  vi.stubEnv("NO_PROXY", "example.com");
  onTestFinished(() => {
    vi.unstubAllEnvs();
  });
  const device = await newDevice(signers);
  expect(await updateTo(device, await hiddenRegistry())).toMatchObject({ code: "updated" });
  await expectWhole(device, set);
});

describe("over TLS", () => {
  const blob = Buffer.alloc(1_500_000, "x");
  const descriptor = { mediaType: "x/y", digest: digestOf(blob), size: blob.length };

  /** A proxy for this machine too, which the certificates are for. */
  const everywhere = (authority: string) => {
    const proxies = proxiesOf({ http: "", https: `http://${authority}`, except: [] });
    return () => proxies(new URL("https://registry.invalid"));
  };

  test("all of it is in a tunnel to the far side", async () => {
    const { authority, cert } = await serveTls((request, response) => {
      if (request.url?.includes("/manifests/")) response.writeHead(200, manifestHeaders()).end(manifest);
      else response.writeHead(200, { "Content-Length": blob.length }).end(blob);
    });
    const proxy = await startProxy();
    const proxies = everywhere(proxy.authority);
    const session = new Session(
      { scheme: "https", authority },
      { ca: cert, limits: short, credentialFiles: [], proxies },
    );
    const registry = new Registry(session, "some/image");
    expect((await registry.manifest("1")).digest).toBe(digestOf(manifest));
    expect((await collect(registry.blob(descriptor))).equals(blob)).toBe(true);
    expect(proxy.asked.length).toBeGreaterThan(0);
    expect(new Set(proxy.asked)).toEqual(new Set([authority]));
  });

  test("a certificate of somebody else is refused as without a proxy", async () => {
    const { authority } = await serveTls((_, response) => response.end());
    const { cert } = await serveTls((_, response) => response.end());
    const proxy = await startProxy();
    const proxies = everywhere(proxy.authority);
    const session = new Session(
      { scheme: "https", authority },
      { ca: cert, limits: short, credentialFiles: [], proxies },
    );
    await expect(new Registry(session, "a").manifest("1")).rejects.toEqual(
      failsWith("registry-unreachable", /certificate/),
    );
  });
});
