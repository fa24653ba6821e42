// A registry with mirrors (attacks A12, A17): in which order they are asked, and that none of them can make an update
// fail or bring anything else onto a device. Real updates; registry and mirrors are servers of this test.
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { verifyReference } from "../../src/agent/verify.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { serve } from "./bad-registry.ts";
import { impatient, type PublishedSet, partialOf, publishSet, setFetch, updateTo } from "./fetch-fixture.ts";
import { endless, send, sendIndex, sendRange, serveLayout, type Tamper } from "./layout-server.ts";
import { flipped, makeSigners, newDevice, type Signers } from "./refusals-fixture.ts";
import { expectWhole } from "./through-fault.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let signers: Signers;
let set: PublishedSet;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  // One that comes over a connection of its own, and one that does not.
  set = await publishSet(work, signers, [1500, 100]);
});
afterAll(() => rm(work, { recursive: true, force: true }));

/** A server of the set that keeps a list of what it was asked for. */
async function logged(tamper: Tamper = () => false) {
  const asked: string[] = [];
  const authority = await serveLayout(set.directory, (request, response) => {
    asked.push(request.url ?? "");
    return tamper(request, response);
  });
  return { authority, asked, layers: () => asked.filter((url) => isLayer(url) >= 0).length };
}

const isLayer = (url: string | undefined) =>
  set.images.findIndex(({ layer }) => url?.endsWith(layer.descriptor.digest));

/** An address where nothing listens. */
async function nowhere(): Promise<string> {
  const { authority, server } = await serve(() => undefined);
  await new Promise((resolve) => server.close(resolve));
  return authority;
}

async function deviceWith(registry: string, mirrors: readonly string[], more: object = {}) {
  const device = await newDevice(signers);
  await setFetch(device, { mirrors: { [registry]: mirrors }, ...impatient, ...more });
  return { device, reference: `${registry}/machine/install:1.0.0` };
}

test("images come from the first mirror, what says which ones from the registry itself", async () => {
  const [registry, first, second] = [await logged(), await logged(), await logged()];
  const { device, reference } = await deviceWith(registry.authority, [first.authority, second.authority]);
  expect(await updateTo(device, reference)).toMatchObject({ code: "updated" });
  await expectWhole(device, set);
  expect(registry.asked.length).toBeGreaterThan(0);
  expect(registry.asked.every((url) => url.startsWith("/v2/machine/install/"))).toBe(true);
  expect(first.asked.every((url) => url.startsWith("/v2/mos/"))).toBe(true);
  expect(first.layers()).toBe(2);
  expect(second.asked).toEqual([]);
});

test("a mirror may have its copies below a path", async () => {
  const [registry, mirror] = [await logged(), await logged()];
  const { device, reference } = await deviceWith(registry.authority, [
    `http://${mirror.authority}/copies/of-it`,
  ]);
  expect(await updateTo(device, reference)).toMatchObject({ code: "updated" });
  expect(mirror.asked.every((url) => url.startsWith("/v2/copies/of-it/mos/"))).toBe(true);
  expect(mirror.layers()).toBe(2);
});

test("a device that reaches only a mirror is updated from that", async () => {
  const mirror = await logged();
  const { device, reference } = await deviceWith(await nowhere(), [await nowhere(), mirror.authority]);
  expect(await updateTo(device, reference)).toMatchObject({ code: "updated" });
  await expectWhole(device, set);
});

test("when nobody has it, every place's reason is told", async () => {
  const { device, reference } = await deviceWith(await nowhere(), [await nowhere()]);
  const error = await updateTo(device, reference);
  expect(error).toMatchObject({ code: "registry-unreachable", about: reference.split("/")[0] });
  expect(error.problems).toHaveLength(2);
});

describe("a mirror that is no good does not matter, and is left for the next:", () => {
  const layers = (answer: (i: number, ...args: Parameters<Tamper>) => void): Tamper => {
    return (request, response) => {
      const i = isLayer(request.url);
      if (i < 0) return false;
      answer(i, request, response);
      return true;
    };
  };
  const everything =
    (status: number, body = ""): Tamper =>
    (_, response) => {
      response.writeHead(status).end(body);
      return true;
    };
  const bytesOf = (i: number) => set.images[i]?.layer.bytes ?? Buffer.of();

  test.each<[string, Tamper]>([
    ["429", everything(429)],
    ["500", everything(500)],
    ["503", everything(503)],
    ["404", everything(404)],
    ["403", everything(403)],
    ["204", everything(204)],
    ["304", everything(304)],
    ["a portal's page", everything(200, "<html>Welcome to our WLAN</html>")],
    ["a login that nobody has", everything(401)],
    [
      "an https address that leads nowhere",
      (_, response) => {
        response.writeHead(307, { Location: "https://127.0.0.1:1/" }).end();
        return true;
      },
    ],
    ["other layers", layers((i, _, response) => send(response, flipped(bytesOf(i))))],
    ["longer layers", layers((i, _, response) => send(response, Buffer.concat([bytesOf(i), Buffer.of(0)])))],
    ["layers without end", layers((_, __, response) => endless(response))],
    [
      "layers that stop",
      layers((i, _, response) => response.writeHead(200, { "Content-Length": bytesOf(i).length }).write("x")),
    ],
    ["connections that are reset", layers((_, request) => request.socket.resetAndDestroy())],
    [
      "referrers of somebody else",
      (request, response) => {
        if (!request.url?.includes("/referrers/")) return false;
        sendIndex(response, []);
        return true;
      },
    ],
    ["no answer", () => true],
  ])("%s", async (_, tamper) => {
    const [registry, bad] = [await logged(), await logged(tamper)];
    const { device, reference } = await deviceWith(registry.authority, [bad.authority]);
    const error = await updateTo(device, reference);
    expect(error.code, error.message).toBe("updated");
    await expectWhole(device, set);
  });

  test("one that is slow is not asked again for each document", async () => {
    const [registry, bad] = [await logged(), await logged(() => true)];
    const { device, reference } = await deviceWith(registry.authority, [bad.authority], { parallel: 1 });
    expect(await updateTo(device, reference)).toMatchObject({ code: "updated" });
    expect(bad.asked).toHaveLength(1);
  });

  test("one that breaks in the middle of a layer: the next goes on there", async () => {
    const large = bytesOf(0);
    const cut = 1_100_000;
    const bad = await logged(
      layers((i, request, response) => {
        if (i !== 0) sendRange(response, bytesOf(i), request.headers.range);
        else if (request.headers.range !== undefined) response.writeHead(404).end();
        else {
          response.writeHead(200, { "Content-Length": large.length });
          response.write(large.subarray(0, cut), () => response.destroy());
        }
      }),
    );
    const ranges: (string | undefined)[] = [];
    const registry = await logged((request) => {
      if (isLayer(request.url) === 0) ranges.push(request.headers.range);
      return false;
    });
    const { device, reference } = await deviceWith(registry.authority, [bad.authority]);
    expect(await updateTo(device, reference)).toMatchObject({ code: "updated" });
    await expectWhole(device, set);
    expect(ranges).toEqual([expect.stringMatching(/^bytes=[1-9]/)]);
  });
});

test("a mirror that lies in its half of a layer costs that layer's bytes once more, and no more", async () => {
  const large = set.images[0]?.layer.bytes ?? Buffer.of();
  const liar = await logged((request, response) => {
    if (isLayer(request.url) !== 0) return false;
    sendRange(response, flipped(large, 10), request.headers.range);
    return true;
  });
  const registry = await logged();
  const { device, reference } = await deviceWith(registry.authority, [liar.authority]);
  expect(await updateTo(device, reference)).toMatchObject({ code: "updated" });
  await expectWhole(device, set);
  expect(registry.asked.filter((url) => isLayer(url) === 0)).toHaveLength(1);
  await expect(
    readFile(partialOf(device, set.images[0]?.layer.descriptor.digest ?? digestOf(""))),
  ).rejects.toThrow();
});

test("a check of every byte does not believe a mirror's lie either", async () => {
  const large = set.images[0]?.layer.bytes ?? Buffer.of();
  const liar = await logged((request, response) => {
    if (isLayer(request.url) !== 0) return false;
    send(response, flipped(large));
    return true;
  });
  const registry = await logged();
  const { device, reference } = await deviceWith(registry.authority, [liar.authority]);
  expect(await verifyReference(device, reference, "content")).toMatchObject({ level: "content" });
});

test("a mirror cannot keep a device on an older set while the registry is there", async () => {
  // The mirror answers every tag with nothing new; the registry's own answer counts.
  const [registry, stale] = [
    await logged(),
    await logged((request, response) => {
      if (!request.url?.endsWith("/manifests/1.0.0")) return false;
      response.writeHead(404).end();
      return true;
    }),
  ];
  const { device, reference } = await deviceWith(registry.authority, [stale.authority]);
  expect(await updateTo(device, reference)).toMatchObject({ code: "updated" });
  expect(stale.asked.some((url) => url.endsWith("/manifests/1.0.0"))).toBe(false);
});

test("credentials go to the host that they are kept for, and to no mirror", async () => {
  const authorization = `Basic ${Buffer.from("device:secret").toString("base64")}`;
  const challenge = { "WWW-Authenticate": 'Basic realm="test"' };
  const atMirror: (string | undefined)[] = [];
  const mirror = await logged((request, response) => {
    atMirror.push(request.headers.authorization);
    response.writeHead(401, challenge).end();
    return true;
  });
  const registry = await logged((request, response) => {
    if (request.headers.authorization === authorization) return false;
    response.writeHead(401, challenge).end();
    return true;
  });
  const file = join(work, "auth.json");
  const auth = authorization.slice("Basic ".length);
  await writeFile(file, JSON.stringify({ auths: { [registry.authority]: { auth } } }));
  vi.stubEnv("REGISTRY_AUTH_FILE", file);
  onTestFinished(() => {
    vi.unstubAllEnvs();
  });
  const { device, reference } = await deviceWith(registry.authority, [mirror.authority]);
  expect(await updateTo(device, reference)).toMatchObject({ code: "updated" });
  expect(new Set(atMirror)).toEqual(new Set([undefined]));
});
