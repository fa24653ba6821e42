// Faults of servers and networks while a device fetches, each through a real update (F10, F11): what passes is waited for,
// what does not ends with a named error, and what has come is used by the next update.
import { rm, truncate, writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { blobOf, type PublishedSet, partialOf, publishSet, updateTo } from "./fetch-fixture.ts";
import { sendRange, serveLayout, superblock } from "./layout-server.ts";
import { flipped, makeSigners, newDevice, type Signers } from "./refusals-fixture.ts";
import { expectWhole, isTag, largeOf, on, throughFault } from "./through-fault.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let signers: Signers;
let set: PublishedSet;
let large: ReturnType<typeof largeOf>;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  set = await publishSet(work, signers, [2200, 100]);
  large = largeOf(set);
});
afterAll(() => rm(work, { recursive: true, force: true }));

const isLarge = ({ url }: IncomingMessage) => url?.endsWith(large.digest) === true;

test("F10, a registry that has IPv6 only, also for layers, which have connections of their own", async () => {
  const device = await newDevice(signers);
  const asked: string[] = [];
  const watch = ({ headers, url }: IncomingMessage): boolean => {
    asked.push(`${headers.host} ${url}`);
    return false;
  };
  const authority = await serveLayout(set.directory, watch, "::1");
  expect(authority).toMatch(/^\[::1\]:[0-9]+$/);
  expect(await updateTo(device, `${authority}/machine/install:1.0.0`)).toMatchObject({ code: "updated" });
  await expectWhole(device, set);
  expect(asked.every((request) => request.startsWith(authority))).toBe(true);
  expect(asked.some((request) => request.endsWith(large.digest))).toBe(true);
});

describe("F11, a server with its bad moments:", () => {
  test.each([[500], [429]])("%i twice for each thing is only a delay", async (status) => {
    const times = new Map<string, number>();
    const authority = await serveLayout(set.directory, (request, response) => {
      if (!isLarge(request) && !isTag(request)) return false;
      const time = (times.get(request.url ?? "") ?? 0) + 1;
      times.set(request.url ?? "", time);
      // A large layer is asked for over a connection of its own, then in the ordinary way, to hear why not.
      if (time > (isLarge(request) ? 4 : 2)) return false;
      response.writeHead(status).end();
      return true;
    });
    const device = await newDevice(signers);
    expect(await updateTo(device, `${authority}/machine/install:1.0.0`)).toMatchObject({
      code: "updated",
    });
    await expectWhole(device, set);
  });

  test("a layer that comes in many pieces, each over a connection that breaks", async () => {
    let connections = 0;
    const authority = await serveLayout(set.directory, (request, response) => {
      if (!isLarge(request)) return false;
      connections++;
      const { bytes } = large;
      const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
      response.writeHead(from === 0 ? 200 : 206, {
        "Content-Length": bytes.length - from,
        ...(from === 0 ? {} : { "Content-Range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
      });
      const end = Math.min(from + 600_000, bytes.length);
      if (end === bytes.length) response.end(bytes.subarray(from));
      else response.write(bytes.subarray(from, end), () => response.destroy());
      return true;
    });
    const device = await newDevice(signers);
    expect(await updateTo(device, `${authority}/machine/install:1.0.0`)).toMatchObject({
      code: "updated",
    });
    await expectWhole(device, set);
    expect(connections).toBe(4);
  });

  test.each([[204], [304], [206]])("%i for a layer", async (status) => {
    await throughFault(
      signers,
      set,
      on(isLarge, (response) => response.writeHead(status).end()),
      "registry-refused",
    );
  });

  test.each([[204], [304]])("%i for a manifest", async (status) => {
    await throughFault(
      signers,
      set,
      on(isTag, (response) => response.writeHead(status).end()),
      "registry-refused",
    );
  });

  test("another content, with another ETag, from the middle on", async () => {
    const fault = on(isLarge, (response, request) => {
      const { bytes } = large;
      if (request.headers.range === undefined) {
        response.writeHead(200, { "Content-Length": bytes.length, ETag: '"1"' });
        response.write(bytes.subarray(0, 1_200_000), () => response.destroy());
        return;
      }
      response.setHeader("ETag", '"2"');
      sendRange(response, flipped(bytes, bytes.length - 1), request.headers.range);
    });
    const { error } = await throughFault(signers, set, fault, "digest-mismatch");
    expect(error.about).toBe(large.digest);
  });

  test("a part of another length, or from elsewhere, or without saying which", async () => {
    const first = (response: ServerResponse) => {
      response.writeHead(200, { "Content-Length": large.bytes.length });
      response.write(large.bytes.subarray(0, 1_200_000), () => response.destroy());
    };
    const parts: readonly [string, string | undefined][] = [
      ["size-mismatch", `bytes $-${large.bytes.length - 1}/${large.bytes.length + 1}`],
      ["registry-invalid", `bytes 0-${large.bytes.length - 1}/${large.bytes.length}`],
      ["registry-invalid", undefined],
    ];
    for (const [code, range] of parts) {
      const fault = on(isLarge, (response, request) => {
        if (request.headers.range === undefined) {
          first(response);
          return;
        }
        const from = /\d+/.exec(request.headers.range)?.[0] ?? "";
        const header = range === undefined ? {} : { "Content-Range": range.replace("$", from) };
        response.writeHead(206, { ...header, "Content-Length": large.bytes.length - Number(from) });
        response.end(large.bytes.subarray(Number(from)));
      });
      await throughFault(signers, set, fault, code);
    }
  });

  test("416 for the rest of a layer: it is fetched from its beginning", async () => {
    let whole = 0;
    const authority = await serveLayout(set.directory, (request, response) => {
      if (!isLarge(request)) return false;
      if (request.headers.range === undefined) {
        whole++;
        return false;
      }
      response.writeHead(416, { "Content-Range": `bytes */${large.bytes.length}` }).end();
      return true;
    });
    const device = await newDevice(signers);
    const reference = `${authority}/machine/install:1.0.0`;
    expect(await updateTo(device, reference)).toMatchObject({ code: "updated" });
    await rm(blobOf(device, large.digest));
    await writeFile(partialOf(device, large.digest), large.bytes.subarray(0, 700_000));
    whole = 0;
    expect(await updateTo(device, reference)).toMatchObject({ code: "repaired" });
    await expectWhole(device, set);
    expect(whole).toBe(1);
  });
});

describe("what an interrupted update left of a layer", () => {
  async function afterPartial(prepare: (path: string, bytes: Uint8Array) => Promise<void>) {
    const asked: (string | undefined)[] = [];
    const authority = await serveLayout(set.directory, (request) => {
      if (isLarge(request) && request.headers.range !== superblock) asked.push(request.headers.range);
      return false;
    });
    const device = await newDevice(signers);
    const reference = `${authority}/machine/install:1.0.0`;
    expect(await updateTo(device, reference)).toMatchObject({ code: "updated" });
    await rm(blobOf(device, large.digest));
    await prepare(partialOf(device, large.digest), large.bytes);
    asked.length = 0;
    expect(await updateTo(device, reference)).toMatchObject({ code: "repaired" });
    await expectWhole(device, set);
    return asked;
  }

  test("is continued", async () => {
    const asked = await afterPartial((path, bytes) => writeFile(path, bytes.subarray(0, 700_000)));
    expect(asked).toEqual([`bytes=700000-${large.bytes.length - 1}`]);
  });

  test("is all that was missing", async () => {
    expect(await afterPartial((path, bytes) => writeFile(path, bytes))).toEqual([]);
  });

  test("is not used when a power cut left its length but not its content", async () => {
    const asked = await afterPartial(async (path) => {
      await writeFile(path, "");
      await truncate(path, 700_000);
    });
    expect(asked).toEqual([`bytes=700000-${large.bytes.length - 1}`, undefined]);
  });

  test("is not used when it is longer than the layer", async () => {
    const asked = await afterPartial((path, bytes) => writeFile(path, Buffer.concat([bytes, Buffer.of(0)])));
    expect(asked).toEqual([undefined]);
  });
});
