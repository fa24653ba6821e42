// NV indices on a real (software) TPM.
import { randomBytes } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { nvAttributes as attribute, nvKinds } from "../../src/tpm/constants.ts";
import { digest } from "../../src/tpm/hashes.ts";
import {
  counterAttributes,
  defineNv,
  extendNv,
  incrementNv,
  lockNvReading,
  lockNvWriting,
  readNv,
  readNvCounter,
  readNvPublicArea,
  undefineNv,
  writeNv,
} from "../../src/tpm/nv.ts";
import { type NvPublic, nvIndex } from "../../src/tpm/nv-public.ts";
import { extendPcr, readPcrs } from "../../src/tpm/pcr.ts";
import { digestOfPolicy, type Policy, pcrStep } from "../../src/tpm/policy.ts";
import { emptyAuthorization } from "../../src/tpm/session.ts";
import {
  byIndex,
  byOwner,
  bytes,
  clearTpm,
  expectRefusal,
  failure,
  swtpmForFile,
  text,
  withAuth,
  withPolicy,
} from "./tpm-fixture.ts";

const it = swtpmForFile();
const index = nvIndex(0x01500040);

function area(more: Partial<NvPublic> = {}): NvPublic {
  return {
    index,
    nameHash: "sha256",
    attributes: attribute.ownerWrite | attribute.ownerRead | attribute.authRead,
    authPolicy: new Uint8Array(0),
    size: 32,
    ...more,
  };
}

beforeEach(async () => {
  await using tpm = await it.open();
  await clearTpm(tpm);
});

describe("an NV index", () => {
  test.for([1, 32, 512, 513, 1024, 1025, 2048])("of %i bytes comes back as it was written", async (size) => {
    await using tpm = await it.open();
    const nv = area({ size });
    await defineNv(tpm, "owner", emptyAuthorization, nv);
    const content = new Uint8Array(randomBytes(size));
    const written = await writeNv(tpm, nv, byOwner, content);
    expect(await readNv(tpm, written, byOwner)).toEqual(content);
    expect(await readNvPublicArea(tpm, index)).toEqual(written);
  });

  test("can be read and written in part", async () => {
    await using tpm = await it.open();
    await defineNv(tpm, "owner", emptyAuthorization, area());
    const written = await writeNv(tpm, area(), byOwner, bytes("a".repeat(32)));
    await writeNv(tpm, written, byOwner, bytes("bc"), 5);
    expect(text(await readNv(tpm, written, byIndex, { offset: 4, size: 4 }))).toBe("abca");
    expect(text(await readNv(tpm, written, byIndex, { offset: 30 }))).toBe("aa");
    await expectRefusal(readNv(tpm, written, byIndex, { offset: 30, size: 3 }), "TPM_RC_NV_RANGE");
    await expectRefusal(writeNv(tpm, written, byOwner, bytes("xx"), 31), "TPM_RC_NV_RANGE");
  });

  test("is not there before it is defined, and not after it was removed", async () => {
    await using tpm = await it.open();
    expect(await readNvPublicArea(tpm, index)).toBeUndefined();
    await defineNv(tpm, "owner", emptyAuthorization, area());
    await expectRefusal(defineNv(tpm, "owner", emptyAuthorization, area()), "TPM_RC_NV_DEFINED");
    await expectRefusal(readNv(tpm, area(), byOwner), "TPM_RC_NV_UNINITIALIZED");
    await undefineNv(tpm, "owner", emptyAuthorization, area());
    expect(await readNvPublicArea(tpm, index)).toBeUndefined();
  });

  test("refuses who has not the right that it wants", async () => {
    await using tpm = await it.open();
    await defineNv(tpm, "owner", emptyAuthorization, area());
    await expectRefusal(writeNv(tpm, area(), byIndex, bytes("x")), "TPM_RC_AUTH_UNAVAILABLE");
  });

  test("refuses a command for an index that has changed behind our back", async () => {
    await using tpm = await it.open();
    await defineNv(tpm, "owner", emptyAuthorization, area());
    await withAuth(tpm, new Uint8Array(0), async (_, access) => {
      const other = area({ attributes: attribute.ownerWrite | attribute.ownerRead });
      // The Name is a part of what the session proves.
      await expectRefusal(
        writeNv(tpm, other, { by: "owner", access }, bytes("x")),
        "TPM_RC_AUTH_FAIL",
        "TPM_RC_BAD_AUTH",
      );
    });
  });
});

describe("an authorization value", () => {
  const authValue = bytes("correct horse battery staple");
  const nv = area({ attributes: attribute.authWrite | attribute.authRead });

  test("opens an index, and another one does not", async () => {
    await using tpm = await it.open();
    await withAuth(
      tpm,
      new Uint8Array(0),
      async (owner) => await defineNv(tpm, "owner", owner, nv, authValue),
    );
    const written = await withAuth(
      tpm,
      authValue,
      async (_, access) => await writeNv(tpm, nv, { by: "index", access }, bytes("s".repeat(32))),
    );
    await withAuth(tpm, authValue, async (_, access) => {
      expect(text(await readNv(tpm, written, { by: "index", access }))).toBe("s".repeat(32));
    });
    await withAuth(tpm, bytes("wrong"), async (_, access) => {
      await expectRefusal(readNv(tpm, written, { by: "index", access }), "TPM_RC_AUTH_FAIL");
    });
    await expectRefusal(readNv(tpm, written, byIndex), "TPM_RC_AUTH_FAIL");
  });

  test("is the same with zeros after it", async () => {
    await using tpm = await it.open();
    const padded = Buffer.concat([bytes("abc"), new Uint8Array(3)]);
    await withAuth(tpm, new Uint8Array(0), async (owner) => await defineNv(tpm, "owner", owner, nv, padded));
    await withAuth(
      tpm,
      bytes("abc"),
      async (_, access) => await writeNv(tpm, nv, { by: "index", access }, bytes("x")),
    );
    await withAuth(tpm, padded, async (_, access) => {
      await writeNv(
        tpm,
        { ...nv, attributes: nv.attributes | attribute.written },
        { by: "index", access },
        bytes("x"),
      );
    });
  });

  test("is never sent in clear", async () => {
    await using tpm = await it.open();
    const error = await failure(defineNv(tpm, "owner", emptyAuthorization, nv, authValue));
    expect(error).toMatchObject({ code: "internal" });
  });

  test("guessed too often locks the TPM", async () => {
    await using tpm = await it.open();
    await withAuth(
      tpm,
      new Uint8Array(0),
      async (owner) => await defineNv(tpm, "owner", owner, nv, authValue),
    );
    const guess = async (): Promise<unknown> =>
      await withAuth(
        tpm,
        bytes("guess"),
        async (_, access) => await failure(writeNv(tpm, nv, { by: "index", access }, bytes("x"))),
      );
    const codes: unknown[] = [];
    for (let i = 0; i < 4; i++) codes.push(await guess());
    expect(codes).toMatchObject([
      ...Array(3).fill({ code: "tpm-refused", responseCode: { name: "TPM_RC_AUTH_FAIL" } }),
      { code: "tpm-lockout" },
    ]);
  });
});

describe("a policy", () => {
  const attributes = attribute.ownerWrite | attribute.policyRead | attribute.policyWrite;

  async function currentPcrs(...pcrs: number[]): Promise<Policy> {
    await using tpm = await it.open();
    return [pcrStep("sha256", await readPcrs(tpm, "sha256", pcrs))];
  }

  async function protect(policy: Policy, size = 32): Promise<NvPublic> {
    await using tpm = await it.open();
    const nv = area({ attributes, authPolicy: digestOfPolicy(policy), size });
    await defineNv(tpm, "owner", emptyAuthorization, nv);
    return await writeNv(tpm, nv, byOwner, bytes("s".repeat(size)));
  }

  test("lets an index be read and written in many commands, until a PCR changes", async () => {
    const policy = await currentPcrs(7, 11);
    const nv = await protect(policy, 2000);
    await using tpm = await it.open();
    await withPolicy(tpm, policy, async (access) => {
      const by = { by: "index", access } as const;
      expect(text(await readNv(tpm, nv, by))).toBe("s".repeat(2000));
      await writeNv(tpm, nv, by, bytes("t".repeat(1500)));
      expect(text(await readNv(tpm, nv, by))).toBe("t".repeat(1500) + "s".repeat(500));
    });
    await extendPcr(tpm, 11, "sha256", new Uint8Array(32).fill(1));
    await withPolicy(tpm, policy, async (access) => {
      await expectRefusal(readNv(tpm, nv, { by: "index", access }), "TPM_RC_VALUE");
    });
  });

  test("read for the last time ends its session, which is then of no more use", async () => {
    const policy = await currentPcrs(7);
    const nv = await protect(policy, 1500);
    await using tpm = await it.open();
    await withPolicy(tpm, policy, async (access) => {
      const by = { by: "index", access } as const;
      expect(await readNv(tpm, nv, by, { last: true })).toHaveLength(1500);
      expect(await failure(readNv(tpm, nv, by))).toMatchObject({ code: "internal" });
    });
  });

  test("that is another one does not open it, and is no hindrance to the right one afterwards", async () => {
    const policy: Policy = [{ kind: "command", command: "TPM2_NV_Read" }];
    const nv = await protect(policy);
    await using tpm = await it.open();
    const written: Policy = [{ kind: "nv-written", written: true }];
    await withPolicy(tpm, written, async (access) => {
      await expectRefusal(readNv(tpm, nv, { by: "index", access }), "TPM_RC_POLICY_FAIL");
      if (access.kind !== "policy") throw new Error("not a policy");
      const right = { ...access, policy };
      expect(text(await readNv(tpm, nv, { by: "index", access: right }))).toBe("s".repeat(32));
      await expectRefusal(writeNv(tpm, nv, { by: "index", access: right }, bytes("x")), "TPM_RC_POLICY_CC");
    });
  });

  test("that was not satisfied at all does not open it", async () => {
    const nv = await protect([{ kind: "command", command: "TPM2_NV_Read" }]);
    await using tpm = await it.open();
    await withPolicy(tpm, [], async (access) => {
      await expectRefusal(readNv(tpm, nv, { by: "index", access }), "TPM_RC_POLICY_FAIL");
    });
    await expectRefusal(readNv(tpm, nv, byIndex), "TPM_RC_AUTH_UNAVAILABLE", "TPM_RC_NV_AUTHORIZATION");
  });
});

describe("a lock", () => {
  test("keeps an index from being written, and goes with the next start", async () => {
    const nv = area({ attributes: area().attributes | attribute.writeStClear });
    {
      await using tpm = await it.open();
      await defineNv(tpm, "owner", emptyAuthorization, nv);
      const written = await writeNv(tpm, nv, byOwner, bytes("x".repeat(32)));
      const locked = await lockNvWriting(tpm, written, byOwner);
      await expectRefusal(writeNv(tpm, locked, byOwner, bytes("y")), "TPM_RC_NV_LOCKED");
      expect(await readNvPublicArea(tpm, index)).toEqual(locked);
      expect(text(await readNv(tpm, locked, byOwner, { size: 1 }))).toBe("x");
    }
    await it.swtpm.restart();
    await using tpm = await it.open();
    const now = await readNvPublicArea(tpm, index);
    await writeNv(tpm, now ?? nv, byOwner, bytes("y"));
  });

  test("keeps an index from being read, and goes with the next start", async () => {
    const nv = area({ attributes: (area().attributes | attribute.readStClear) >>> 0 });
    {
      await using tpm = await it.open();
      await defineNv(tpm, "owner", emptyAuthorization, nv);
      const written = await writeNv(tpm, nv, byOwner, bytes("x".repeat(32)));
      const locked = await lockNvReading(tpm, written, byOwner);
      await expectRefusal(readNv(tpm, locked, byOwner), "TPM_RC_NV_LOCKED");
      expect(await readNvPublicArea(tpm, index)).toEqual(locked);
    }
    await it.swtpm.restart();
    await using tpm = await it.open();
    const now = await readNvPublicArea(tpm, index);
    expect(text(await readNv(tpm, now ?? nv, byOwner, { size: 1 }))).toBe("x");
  });
});

describe("a counter", () => {
  const nv = area({ attributes: counterAttributes, size: 8 });

  test("only goes up, also over removal and a new definition", async () => {
    await using tpm = await it.open();
    await defineNv(tpm, "owner", emptyAuthorization, nv);
    const counter = await incrementNv(tpm, nv, byOwner);
    const first = await readNvCounter(tpm, counter, byIndex);
    await incrementNv(tpm, counter, byOwner);
    expect(await readNvCounter(tpm, counter, byIndex)).toBe(first + 1n);
    await expectRefusal(writeNv(tpm, counter, byOwner, new Uint8Array(8)), "TPM_RC_ATTRIBUTES");
    await undefineNv(tpm, "owner", emptyAuthorization, counter);
    await defineNv(tpm, "owner", emptyAuthorization, nv);
    await incrementNv(tpm, nv, byOwner);
    expect(await readNvCounter(tpm, counter, byIndex)).toBeGreaterThan(first + 1n);
  });

  test("opens what asks for a number up to its own, and nothing that it has left behind", async () => {
    await using tpm = await it.open();
    await defineNv(tpm, "owner", emptyAuthorization, nv);
    const counter = await incrementNv(tpm, nv, byOwner);
    const epoch = Buffer.alloc(8);
    epoch.writeBigUInt64BE(await readNvCounter(tpm, counter, byIndex));
    // A secret of the present epoch: for counters that are not above it.
    const policy: Policy = [{ kind: "nv", nv: counter, operand: epoch, offset: 0, operation: "lessOrEqual" }];
    const secret = area({
      index: nvIndex(0x01500041),
      attributes: attribute.ownerWrite | attribute.policyRead,
      authPolicy: digestOfPolicy(policy),
    });
    await defineNv(tpm, "owner", emptyAuthorization, secret);
    const written = await writeNv(tpm, secret, byOwner, bytes("s".repeat(32)));
    await withPolicy(tpm, policy, async (access) => {
      expect(text(await readNv(tpm, written, { by: "index", access }))).toBe("s".repeat(32));
      await incrementNv(tpm, counter, byOwner);
      await expectRefusal(readNv(tpm, written, { by: "index", access }), "TPM_RC_POLICY");
    });
  });
});

test("an index that is extended holds what a PCR would", async () => {
  await using tpm = await it.open();
  const nv = area({ attributes: nvKinds.extend | attribute.ownerWrite | attribute.ownerRead });
  await defineNv(tpm, "owner", emptyAuthorization, nv);
  const written = await extendNv(tpm, nv, byOwner, bytes("event"));
  const expected = digest("sha256", new Uint8Array(32), bytes("event"));
  expect(await readNv(tpm, written, byOwner)).toEqual(expected);
});
