// What belongs to the TPM's owner: hierarchies, lockout, quotes; and what crosses the bus.
import { createHash, randomBytes } from "node:crypto";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { parseTpmAddress } from "../../src/tpm/address.ts";
import { getRandom, readBanks, readLockout, readManufacturer } from "../../src/tpm/capability.ts";
import { nvAttributes as attribute, commands } from "../../src/tpm/constants.ts";
import { changeHierarchyAuth, clear, resetLockout, setLockoutLimits } from "../../src/tpm/hierarchy.ts";
import { createPrimary } from "../../src/tpm/keys.ts";
import { defineNv, readNv, writeNv } from "../../src/tpm/nv.ts";
import { type NvPublic, nvIndex } from "../../src/tpm/nv-public.ts";
import { extendPcr, extendPcrBanks, readPcrs } from "../../src/tpm/pcr.ts";
import { selectPcrs } from "../../src/tpm/pcr-selection.ts";
import type { Policy } from "../../src/tpm/policy.ts";
import type { EccPublic } from "../../src/tpm/public.ts";
import { keyObjectOf } from "../../src/tpm/public-key.ts";
import { type Quote, quote, verifyQuote } from "../../src/tpm/quote.ts";
import { seal, unseal } from "../../src/tpm/seal.ts";
import { emptyAuthorization } from "../../src/tpm/session.ts";
import { startSession } from "../../src/tpm/start-session.ts";
import { attestationKeyTemplate, storageKeyTemplate } from "../../src/tpm/templates.ts";
import { Tpm } from "../../src/tpm/tpm.ts";
import {
  byIndex,
  bytes,
  clearTpm,
  expectRefusal,
  failure,
  swtpmForFile,
  text,
  withAuth,
} from "./tpm-fixture.ts";

const it = swtpmForFile();
const nothing = new Uint8Array(0);
beforeEach(async () => {
  await using tpm = await it.open();
  await clearTpm(tpm);
});

describe("authorization values of hierarchies", () => {
  const secret = bytes("the owner's own");

  test("are set, asked for from then on, changed, and removed", async () => {
    await using tpm = await it.open();
    await withAuth(tpm, nothing, async (old) => await changeHierarchyAuth(tpm, "endorsement", old, secret));
    expect(await readLockout(tpm)).toMatchObject({ ownerAuthSet: false, endorsementAuthSet: true });
    await expectRefusal(
      createPrimary(tpm, "endorsement", emptyAuthorization, storageKeyTemplate),
      "TPM_RC_BAD_AUTH",
    );
    await withAuth(tpm, secret, async (right) => {
      await using _key = await createPrimary(tpm, "endorsement", right, storageKeyTemplate);
      await changeHierarchyAuth(tpm, "endorsement", right, bytes("another"));
    });
    await withAuth(tpm, secret, async (old) => {
      await expectRefusal(changeHierarchyAuth(tpm, "endorsement", old, nothing), "TPM_RC_BAD_AUTH");
    });
    await withAuth(tpm, bytes("another"), async (right) => {
      await changeHierarchyAuth(tpm, "endorsement", right, nothing);
    });
    expect(await readLockout(tpm)).toMatchObject({ endorsementAuthSet: false });
  });

  test("are never sent in clear", async () => {
    await using tpm = await it.open();
    const error = await failure(changeHierarchyAuth(tpm, "owner", emptyAuthorization, secret));
    expect(error).toMatchObject({ code: "internal" });
    await using session = await startSession(tpm, "hmac");
    const unsalted = { kind: "session", session, authValue: nothing } as const;
    expect(await failure(changeHierarchyAuth(tpm, "owner", unsalted, secret))).toMatchObject({
      code: "internal",
    });
  });

  test("go with a clear by the lockout's own, in whose session they end", async () => {
    await using tpm = await it.open();
    await withAuth(tpm, nothing, async (old) => await changeHierarchyAuth(tpm, "lockout", old, secret));
    expect(await readLockout(tpm)).toMatchObject({ lockoutAuthSet: true });
    await withAuth(tpm, secret, async (right) => await clear(tpm, "lockout", right));
    expect(await readLockout(tpm)).toMatchObject({ lockoutAuthSet: false });
  });
});

describe("the lockout", () => {
  const nv: NvPublic = {
    index: nvIndex(0x01500050),
    nameHash: "sha256",
    attributes: attribute.authRead | attribute.authWrite,
    authPolicy: nothing,
    size: 8,
  };

  test("comes after as many wrong values as were allowed, and goes when it is reset", async () => {
    await using tpm = await it.open();
    const limits = { maxFailures: 5, intervalSeconds: 600, recoverySeconds: 86_400 };
    await setLockoutLimits(tpm, emptyAuthorization, limits);
    await withAuth(tpm, nothing, async (owner) => await defineNv(tpm, "owner", owner, nv, bytes("right")));
    const attempt = async (value: string): Promise<unknown> =>
      await withAuth(
        tpm,
        bytes(value),
        async (_, access) =>
          await writeNv(tpm, nv, { by: "index", access }, new Uint8Array(8)).catch((error: unknown) => error),
      );
    for (let i = 0; i < 5; i++) await attempt("wrong");
    expect(await readLockout(tpm)).toMatchObject({ inLockout: true, failures: 5, ...limits });
    expect(await attempt("right")).toMatchObject({ code: "tpm-lockout" });
    await resetLockout(tpm, emptyAuthorization);
    expect(await readLockout(tpm)).toMatchObject({ inLockout: false, failures: 0 });
    expect(await attempt("right")).toMatchObject({ index: nv.index });
  });
});

describe("a quote", () => {
  const selection = selectPcrs("sha256", [0, 7, 11]);
  const nonce = randomBytes(16);

  async function quoted() {
    await using tpm = await it.open();
    await using key = await createPrimary(tpm, "endorsement", emptyAuthorization, attestationKeyTemplate);
    const values = await readPcrs(tpm, "sha256", selection.pcrs);
    const made = await quote(tpm, key, emptyAuthorization, selection, nonce);
    return { made, values, key: keyObjectOf(key.public as EccPublic) };
  }

  test("proves what the PCRs hold", async () => {
    const { made, values, key } = await quoted();
    const said = verifyQuote(made, key, nonce, selection, values);
    expect(said.extraData).toEqual(new Uint8Array(nonce));
    expect(said.clock).toBeGreaterThan(0n);
  });

  test("of a nonce of any length is for that nonce", async () => {
    const long = randomBytes(200);
    await using tpm = await it.open();
    await using key = await createPrimary(tpm, "endorsement", emptyAuthorization, attestationKeyTemplate);
    const values = await readPcrs(tpm, "sha256", selection.pcrs);
    const made = await quote(tpm, key, emptyAuthorization, selection, long);
    const object = keyObjectOf(key.public as EccPublic);
    verifyQuote(made, object, long, selection, values);
    expect(() => verifyQuote(made, object, long.subarray(1), selection, values)).toThrow(/another nonce/);
  });

  test("is refused for another nonce, key, selection or value, and when it was altered", async () => {
    const { made, values, key } = await quoted();
    const { key: other } = await (async () => {
      await using tpm = await it.open();
      await clearTpm(tpm);
      await using stranger = await createPrimary(tpm, "owner", emptyAuthorization, attestationKeyTemplate);
      return { key: keyObjectOf(stranger.public as EccPublic) };
    })();
    const flip = (part: Uint8Array, at: number): Uint8Array =>
      Uint8Array.from(part, (byte, i) => (i === at ? byte ^ 1 : byte));
    const refused = (work: () => unknown, code = "tpm-quote-invalid"): void => {
      expect(work).toThrow(expect.objectContaining({ code }));
    };
    refused(() => verifyQuote(made, key, randomBytes(16), selection, values));
    refused(() => verifyQuote(made, other, nonce, selection, values));
    const fewer = selectPcrs("sha256", [0, 7]);
    refused(() => verifyQuote(made, key, nonce, fewer, values));
    const wrong = new Map(values).set(7, new Uint8Array(32).fill(7));
    refused(() => verifyQuote(made, key, nonce, selection, wrong));
    const altered: Quote = { ...made, statement: flip(made.statement, 30) };
    refused(() => verifyQuote(altered, key, nonce, selection, values));
    const forged: Quote = { ...made, signature: flip(made.signature, 20) };
    refused(() => verifyQuote(forged, key, nonce, selection, values));
    const cut: Quote = { ...made, signature: made.signature.subarray(0, -1) };
    refused(() => verifyQuote(cut, key, nonce, selection, values), "tpm-data-invalid");
  });
});

test("PCRs of several banks are extended at once, and all 24 are read", async () => {
  await using tpm = await it.open();
  const event = bytes("event");
  const of = (name: "sha1" | "sha256"): Uint8Array => createHash(name).update(event).digest();
  const before = await readPcrs(tpm, "sha256", [16]);
  await extendPcrBanks(
    tpm,
    16,
    new Map([
      ["sha1", of("sha1")],
      ["sha256", of("sha256")],
    ]),
  );
  const expected = createHash("sha256")
    .update(before.get(16) ?? nothing)
    .update(of("sha256"))
    .digest();
  const all = await readPcrs(
    tpm,
    "sha256",
    Array.from({ length: 24 }, (_, i) => i),
  );
  expect(all.size).toBe(24);
  expect(all.get(16)).toEqual(new Uint8Array(expected));
  expect((await readBanks(tpm)).map(({ bank }) => bank)).toContain("sha256");
  await expect(extendPcr(tpm, 16, "sha256", new Uint8Array(20))).rejects.toThrow(RangeError);
});

test("says who made it, and gives random bytes", async () => {
  await using tpm = await it.open();
  expect(await readManufacturer(tpm)).toBe("IBM");
  const many = await getRandom(tpm, 1000);
  expect(new Set(many).size).toBeGreaterThan(200);
});

describe("on the bus", () => {
  /** Passes everything on to swtpm, and keeps a copy, altering answers where it is told to. */
  async function tap(alter = (answer: Uint8Array, _command: number): Uint8Array => answer) {
    const seen: Buffer[] = [];
    let command = 0;
    const path = join(it.directory, `tap-${randomBytes(4).toString("hex")}`);
    const address = it.swtpm.address;
    if (address.kind !== "socket") throw new Error("not a socket");
    const sockets: Socket[] = [];
    const server: Server = createServer((ours) => {
      const theirs = createConnection(address.path);
      sockets.push(ours, theirs);
      ours.on("data", (chunk: Buffer) => {
        seen.push(Buffer.from(chunk));
        command = chunk.readUInt32BE(6);
        theirs.write(chunk);
      });
      theirs.on("data", (chunk: Buffer) => {
        seen.push(Buffer.from(chunk));
        ours.write(alter(chunk, command));
      });
      ours.on("close", () => theirs.destroy());
      theirs.on("close", () => ours.destroy());
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return {
      open: async () => await Tpm.open(parseTpmAddress(`swtpm:${path}`), { deadlineMs: 10_000 }),
      bytes: () => Buffer.concat(seen),
      async [Symbol.asyncDispose]() {
        for (const socket of sockets) socket.destroy();
        await new Promise((resolve) => server.close(resolve));
      },
    };
  }

  test("neither a sealed secret, nor one in NV, nor an authorization value is ever seen in clear", async () => {
    await using bus = await tap();
    const secrets = {
      sealed: bytes("sealed: 9f8a7c1e55"),
      pin: bytes("pin: 31415926"),
      nv: bytes("index content: 0a1b2c3d4e"),
      nvAuth: bytes("index value: 77777"),
      owner: bytes("owner value: 424242"),
      open: bytes("not a secret at all"),
    };
    {
      await using tpm = await bus.open();
      await withAuth(
        tpm,
        nothing,
        async (old) => await changeHierarchyAuth(tpm, "endorsement", old, secrets.owner),
      );
      await withAuth(tpm, secrets.owner, async (right) => {
        await changeHierarchyAuth(tpm, "endorsement", right, nothing);
      });
      const policy: Policy = [{ kind: "auth-value" }];
      const sealed = await seal(tpm, secrets.sealed, { policy, authValue: secrets.pin });
      expect(text(await unseal(tpm, sealed, { policy, authValue: secrets.pin }))).toBe(text(secrets.sealed));
      const nv: NvPublic = {
        index: nvIndex(0x01500051),
        nameHash: "sha256",
        attributes: attribute.authRead | attribute.authWrite,
        authPolicy: nothing,
        size: secrets.nv.length,
      };
      await withAuth(tpm, nothing, async (owner) => await defineNv(tpm, "owner", owner, nv, secrets.nvAuth));
      await withAuth(tpm, secrets.nvAuth, async (_, access) => {
        const written = await writeNv(tpm, nv, { by: "index", access }, secrets.nv);
        expect(text(await readNv(tpm, written, { by: "index", access }))).toBe(text(secrets.nv));
      });
      const open = { ...nv, index: nvIndex(0x01500052), size: secrets.open.length };
      await defineNv(tpm, "owner", emptyAuthorization, open);
      await writeNv(tpm, open, byIndex, secrets.open);
    }
    const seen = bus.bytes();
    const found = Object.entries(secrets).filter(([, secret]) => seen.includes(secret));
    // What was not to be hidden shows that we would have seen the others.
    expect(found.map(([name]) => name)).toEqual(["open"]);
  });

  test.for([
    ["its secret", 10 + 4 + 2 + 1],
    ["its proof", -1],
    ["its nonce", -1 - 32 - 2 - 1],
  ] as const)("an answer is not believed when %s was altered", async ([, at]) => {
    await using bus = await tap((answer, command) =>
      command === commands.TPM2_Unseal ? answer.with(at, (answer.at(at) ?? 0) ^ 1) : answer,
    );
    await using tpm = await bus.open();
    const policy: Policy = [{ kind: "command", command: "TPM2_Unseal" }];
    const sealed = await seal(tpm, bytes("a secret that is not lost"), { policy });
    expect(await failure(unseal(tpm, sealed, { policy }))).toMatchObject({ code: "tpm-response-forged" });
  });
});
