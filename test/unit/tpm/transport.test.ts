// A TPM that misbehaves: malformed, late, half and missing answers, which no real TPM gives on demand.
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { run } from "../../../src/system/process.ts";
import type { TpmAddress } from "../../../src/tpm/address.ts";
import { encode } from "../../../src/tpm/buffer.ts";
import { getRandom, readBanks, readLockout } from "../../../src/tpm/capability.ts";
import { loadExternal, readPersistent } from "../../../src/tpm/keys.ts";
import { readNvPublicArea } from "../../../src/tpm/nv.ts";
import { nvIndex } from "../../../src/tpm/nv-public.ts";
import { readPcrs } from "../../../src/tpm/pcr.ts";
import { startSession } from "../../../src/tpm/start-session.ts";
import { storageKeyTemplate } from "../../../src/tpm/templates.ts";
import { Tpm } from "../../../src/tpm/tpm.ts";
import { temporaryDirectory } from "../../support.ts";

type Behaviour = (socket: Socket, command: Buffer, count: number) => void;

/** Something that answers as it is told, on a socket. */
async function fakeTpm(behave: Behaviour): Promise<TpmAddress> {
  const path = join(await temporaryDirectory(), "tpm");
  const sockets = new Set<Socket>();
  let count = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("data", (command: Buffer) => behave(socket, command, count++));
    socket.on("error", () => undefined);
  });
  server.listen(path);
  await once(server, "listening");
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
  });
  return { kind: "socket", path };
}

function answer(parameters: Uint8Array, { code = 0, tag = 0x8001, size = 10 + parameters.length } = {}) {
  return encode((writer) => writer.u16(tag).u32(size).u32(code).raw(parameters));
}

/** Four random bytes, as GetRandom answers. */
const random = answer(Uint8Array.of(0, 4, 1, 2, 3, 4));
const given = Uint8Array.of(1, 2, 3, 4);

async function open(behave: Behaviour, deadlineMs = 5000): Promise<Tpm> {
  const tpm = await Tpm.open(await fakeTpm(behave), { deadlineMs });
  onTestFinished(async () => await tpm.close());
  return tpm;
}

describe("a TPM that answers", () => {
  test("in single bytes is understood", async () => {
    const tpm = await open(async (socket) => {
      socket.setNoDelay();
      for (const byte of random) {
        socket.write(Uint8Array.of(byte));
        await new Promise(setImmediate);
      }
    });
    expect(await getRandom(tpm, 4)).toEqual(given);
  });

  test("late, but in time, is understood", async () => {
    const tpm = await open((socket) => setTimeout(() => socket.write(random), 60));
    expect(await getRandom(tpm, 4)).toEqual(given);
  });

  test("that it is busy is asked again, until it is not", async () => {
    const busy = [0x922, 0x908, 0x90a, 0x920];
    const tpm = await open((socket, _, count) => {
      const code = busy[count];
      socket.write(code === undefined ? random : answer(new Uint8Array(0), { code }));
    });
    expect(await getRandom(tpm, 4)).toEqual(given);
    expect(tpm.commandCount).toBe(5);
  });

  test("that it is busy for ever is given up in time", async () => {
    const tpm = await open((socket) => socket.write(answer(new Uint8Array(0), { code: 0x922 })), 100);
    await expect(getRandom(tpm, 4)).rejects.toMatchObject({ code: "tpm-timeout" });
  });

  test.for([
    ["with nothing", []],
    ["with half an answer", [...random.subarray(0, 12)]],
    ["with half a header", [...random.subarray(0, 5)]],
  ] as const)("%s is given up in time", async ([, part]) => {
    const tpm = await open((socket) => socket.write(Uint8Array.from(part)), 80);
    const began = performance.now();
    await expect(getRandom(tpm, 4)).rejects.toMatchObject({ code: "tpm-timeout" });
    expect(performance.now() - began).toBeLessThan(2000);
  });

  test("too late is not believed in the next command", async () => {
    const tpm = await open((socket, _, count) => {
      if (count === 0) setTimeout(() => socket.write(random), 120);
    }, 60);
    await expect(getRandom(tpm, 4)).rejects.toMatchObject({ code: "tpm-timeout" });
    await expect(getRandom(tpm, 4)).rejects.toMatchObject({ code: "tpm-unreachable" });
  });

  test("before it was asked is not believed", async () => {
    const tpm = await open((socket) => socket.write(Buffer.concat([random, random])));
    await expect(getRandom(tpm, 4)).rejects.toMatchObject({ code: "tpm-response-malformed" });
  });

  test("and hangs up is noticed at once", async () => {
    const tpm = await open((socket) => {
      socket.end(random.subarray(0, 11));
    }, 60_000);
    await expect(getRandom(tpm, 4)).rejects.toMatchObject({ code: "tpm-unreachable" });
  });

  test.for([
    ["a size that is smaller than a header", answer(new Uint8Array(0), { size: 9 })],
    ["a size that no TPM has", answer(new Uint8Array(0), { size: 5000 })],
    ["a tag that is not one", answer(Uint8Array.of(0, 4, 1, 2, 3, 4), { tag: 0x8003 })],
    ["the tag of sessions where there are none", answer(Uint8Array.of(0, 4, 1, 2, 3, 4), { tag: 0x8002 })],
    ["a refusal with something after it", answer(Uint8Array.of(0), { code: 0x101 })],
    ["more bytes than were asked for", answer(Uint8Array.of(0, 5, 1, 2, 3, 4, 5))],
    ["no bytes at all", answer(Uint8Array.of(0, 0))],
    ["something after its parameters", answer(Uint8Array.of(0, 4, 1, 2, 3, 4, 5))],
    ["parameters that are cut short", answer(Uint8Array.of(0, 4, 1, 2, 3))],
  ] as const)("with %s is not believed", async ([, bytes]) => {
    const tpm = await open((socket) => socket.write(bytes));
    await expect(getRandom(tpm, 4)).rejects.toMatchObject({ code: "tpm-response-malformed" });
  });
});

describe("whatever bytes come as parameters,", () => {
  const questions: Record<string, (tpm: Tpm) => Promise<unknown>> = {
    getRandom: async (tpm) => await getRandom(tpm, 4),
    readBanks,
    readLockout,
    readPcrs: async (tpm) => await readPcrs(tpm, "sha256", [7]),
    readPersistent: async (tpm) => await readPersistent(tpm, 0x81000001),
    readNvPublicArea: async (tpm) => await readNvPublicArea(tpm, nvIndex(0x01500020)),
    loadExternal: async (tpm) => await loadExternal(tpm, storageKeyTemplate, "owner"),
    startSession: async (tpm) => await startSession(tpm, "hmac"),
  };

  test.for(Object.entries(questions))("%s gives an answer or says that it is malformed", async ([, ask]) => {
    let parameters: Uint8Array = new Uint8Array(0);
    const address = await fakeTpm((socket) => socket.write(answer(parameters)));
    const piece = fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.constant(Uint8Array.of(0, 0, 0, 1)));
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 4 }), async (pieces) => {
        parameters = Buffer.concat(pieces);
        await using tpm = await Tpm.open(address, { deadlineMs: 5000 });
        const error = await ask(tpm).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        if (error !== undefined) expect(error).toMatchObject({ code: "tpm-response-malformed" });
      }),
      { numRuns: 60 },
    );
  });
});

describe("a TPM that cannot be opened", () => {
  test("is missing when there is nothing at its address", async () => {
    const path = join(await temporaryDirectory(), "none");
    for (const kind of ["device", "socket"] as const) {
      await expect(Tpm.open({ kind, path })).rejects.toMatchObject({ code: "tpm-missing" });
    }
  });

  test("is not taken for one when it is a file, which stays as it was", async () => {
    const path = join(await temporaryDirectory(), "file");
    await writeFile(path, "content");
    await expect(Tpm.open({ kind: "device", path })).rejects.toMatchObject({ code: "tpm-unreachable" });
    expect(await readFile(path, "utf8")).toBe("content");
  });

  test("is unreachable when nobody listens there any more", async () => {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" ? (address?.port ?? 0) : 0;
    server.close();
    await once(server, "close");
    await expect(Tpm.open({ kind: "tcp", host: "127.0.0.1", port })).rejects.toMatchObject({
      code: "tpm-unreachable",
    });
  });
});

describe("a process that has closed its TPM ends,", () => {
  const source = join(import.meta.dirname, "../../../src/tpm");
  const script = (path: string): string => `
    import { Tpm } from ${JSON.stringify(`${source}/tpm.ts`)};
    import { getRandom } from ${JSON.stringify(`${source}/capability.ts`)};
    const tpm = await Tpm.open({ kind: "socket", path: ${JSON.stringify(path)} }, { deadlineMs: 100 });
    const said = await getRandom(tpm, 4).then(() => "answered", (error) => error.code);
    await tpm.close();
    process.stdout.write(said);
  `;

  test.for([
    ["when the TPM answered", random, "answered"],
    ["when it did not", new Uint8Array(0), "tpm-timeout"],
  ] as const)("%s", async ([, bytes, expected]) => {
    const address = await fakeTpm((socket) => socket.write(bytes));
    if (address.kind !== "socket") throw new Error("not a socket");
    const args = ["--input-type=module", "--eval", script(address.path)];
    const { stdout } = await run(process.execPath, args, { timeoutMs: 15_000 });
    expect(stdout).toBe(expected);
  });
});

test("a TPM over TCP is used as one over a socket, and closing it twice does no harm", async () => {
  const server = createServer((socket) => socket.on("data", () => socket.write(random)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? (address?.port ?? 0) : 0;
  const tpm = await Tpm.open({ kind: "tcp", host: "127.0.0.1", port });
  expect(await getRandom(tpm, 4)).toEqual(given);
  await tpm.close();
  await tpm.close();
  await expect(getRandom(tpm, 4)).rejects.toMatchObject({ code: "tpm-unreachable" });
  server.close();
  await once(server, "close");
});
