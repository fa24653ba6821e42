// Sealed secrets, and every step that a policy can have, on a real (software) TPM.
import { randomBytes } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { nvAttributes as attribute } from "../../src/tpm/constants.ts";
import { createPrimary, evictControl, hierarchyEntity } from "../../src/tpm/keys.ts";
import { defineNv, writeNv } from "../../src/tpm/nv.ts";
import { nvIndex } from "../../src/tpm/nv-public.ts";
import { extendPcr, readPcrs } from "../../src/tpm/pcr.ts";
import {
  digestOfPolicy,
  type Policy,
  type PolicyStep,
  pcrStep,
  satisfyPolicy,
} from "../../src/tpm/policy.ts";
import { readPolicyDigest } from "../../src/tpm/policy-commands.ts";
import { approvalMessage } from "../../src/tpm/policy-digest.ts";
import type { Public } from "../../src/tpm/public.ts";
import { type SealedSecret, seal, unseal } from "../../src/tpm/seal.ts";
import { emptyAuthorization } from "../../src/tpm/session.ts";
import { signatureOfBytes } from "../../src/tpm/signature.ts";
import { openStorageKey, startSession } from "../../src/tpm/start-session.ts";
import { storageKeyHandle, storageKeyTemplate } from "../../src/tpm/templates.ts";
import type { Tpm } from "../../src/tpm/tpm.ts";
import {
  approver,
  byOwner,
  bytes,
  clearTpm,
  expectRefusal,
  failure,
  swtpmForFile,
  text,
  withAuth,
} from "./tpm-fixture.ts";

const it = swtpmForFile();
beforeEach(async () => {
  await using tpm = await it.open();
  await clearTpm(tpm);
});

async function pcrPolicy(tpm: Tpm, ...pcrs: readonly number[]): Promise<Policy> {
  return [pcrStep("sha256", await readPcrs(tpm, "sha256", pcrs))];
}

const anything: Policy = [{ kind: "command", command: "TPM2_Unseal" }];

describe("a sealed secret", () => {
  test.for([1, 32, 128, 129, 100_000])("of %i bytes is given back", async (size) => {
    await using tpm = await it.open();
    const policy = await pcrPolicy(tpm, 7);
    const secret = new Uint8Array(randomBytes(size));
    const sealed = await seal(tpm, secret, { policy });
    expect(new Uint8Array(await unseal(tpm, sealed, { policy }))).toEqual(secret);
    expect(sealed.encrypted !== undefined).toBe(size > 128);
  });

  test("is refused once a PCR of its policy has changed, and for the values of before too", async () => {
    await using tpm = await it.open();
    const policy = await pcrPolicy(tpm, 7, 12);
    const sealed = await seal(tpm, bytes("secret"), { policy });
    await extendPcr(tpm, 12, "sha256", new Uint8Array(32));
    await expectRefusal(unseal(tpm, sealed, { policy }), "TPM_RC_VALUE");
    await expectRefusal(unseal(tpm, sealed, { policy: await pcrPolicy(tpm, 7, 12) }), "TPM_RC_POLICY_FAIL");
  });

  test("is the same under the persistent storage key and under one derived for the moment", async () => {
    await using tpm = await it.open();
    const sealed = await seal(tpm, bytes("secret"), { policy: anything });
    {
      await using key = await createPrimary(tpm, "owner", emptyAuthorization, storageKeyTemplate);
      await evictControl(tpm, emptyAuthorization, key, storageKeyHandle);
    }
    const before = tpm.commandCount;
    expect(text(await unseal(tpm, sealed, { policy: anything }))).toBe("secret");
    // ReadPublic, Load, StartAuthSession, PolicyCommandCode, Unseal, FlushContext.
    expect(tpm.commandCount - before).toBe(6);
    await evictControl(tpm, emptyAuthorization, await openStorageKey(tpm), storageKeyHandle);
    expect(text(await unseal(tpm, sealed, { policy: anything }))).toBe("secret");
  });

  test("is refused when any part of it was altered", async () => {
    await using tpm = await it.open();
    const sealed = await seal(tpm, randomBytes(500), { policy: anything });
    const other = await seal(tpm, randomBytes(500), { policy: anything });
    const flip = (part: Uint8Array | undefined, at: number): Uint8Array =>
      Uint8Array.from(part ?? [], (byte, i) => (i === at ? byte ^ 1 : byte));
    const end = (sealed.encrypted?.length ?? 0) - 1;
    const altered: [string, SealedSecret][] = [
      ["private part", { ...sealed, private: flip(sealed.private, 60) }],
      ["size of the private part", { ...sealed, private: flip(sealed.private, 1) }],
      ["private part cut short", { ...sealed, private: sealed.private.subarray(0, -1) }],
      ["Name", { ...sealed, public: flip(sealed.public, sealed.public.length - 1) }],
      ["type", { ...sealed, public: flip(sealed.public, 3) }],
      ["something after it", { ...sealed, public: Buffer.concat([sealed.public, Buffer.of(0)]) }],
      ["nonce", { ...sealed, encrypted: flip(sealed.encrypted, 0) }],
      ["ciphertext", { ...sealed, encrypted: flip(sealed.encrypted, 100) }],
      ["tag", { ...sealed, encrypted: flip(sealed.encrypted, end) }],
      ["no ciphertext", { ...sealed, encrypted: new Uint8Array(5) }],
      ["another's ciphertext", { ...sealed, encrypted: other.encrypted ?? new Uint8Array(0) }],
    ];
    for (const [what, bad] of altered) {
      expect(await failure(unseal(tpm, bad, { policy: anything })), what).toMatchObject({
        code: "tpm-data-invalid",
      });
    }
    expect(await unseal(tpm, sealed, { policy: anything })).toHaveLength(500);
  });

  test("of one TPM is nothing to another", async () => {
    await using tpm = await it.open();
    const sealed = await seal(tpm, bytes("secret"), { policy: anything });
    await using key = await openStorageKey(tpm);
    await clearTpm(tpm);
    expect(await failure(unseal(tpm, sealed, { policy: anything }))).toMatchObject({
      code: "tpm-data-invalid",
    });
    expect(await failure(openStorageKey(tpm, key.name))).toMatchObject({ code: "tpm-changed" });
  });

  const { nameHash, attributes, authPolicy, symmetric, scheme } = storageKeyTemplate;
  const common = { nameHash, attributes, authPolicy, symmetric, scheme };
  const parents: Record<string, Public> = {
    "RSA with 2048 bits": { ...common, type: "rsa", bits: 2048, exponent: 0, modulus: authPolicy },
    "P-384": { ...storageKeyTemplate, nameHash: "sha384", curve: "p384" },
  };
  test.for(Object.keys(parents))(
    "is given back under a key of %s, to which sessions are salted",
    async (kind) => {
      await using tpm = await it.open();
      const template = parents[kind] ?? storageKeyTemplate;
      await using parent = await createPrimary(tpm, "null", emptyAuthorization, template);
      const sealed = await seal(tpm, bytes("secret"), { policy: anything, parent });
      expect(text(await unseal(tpm, sealed, { policy: anything, parent }))).toBe("secret");
    },
  );

  test("outlives a power cycle", async () => {
    let sealed: SealedSecret;
    {
      await using tpm = await it.open();
      sealed = await seal(tpm, bytes("secret"), { policy: anything });
    }
    await it.swtpm.restart();
    await using tpm = await it.open();
    expect(text(await unseal(tpm, sealed, { policy: anything }))).toBe("secret");
  });
});

describe("with a policy of an authorization value", () => {
  const policy: Policy = [{ kind: "auth-value" }];

  test("the right value opens, a wrong one does not", async () => {
    await using tpm = await it.open();
    const sealed = await seal(tpm, bytes("secret"), { policy, authValue: bytes("pin") });
    await expectRefusal(unseal(tpm, sealed, { policy, authValue: bytes("nip") }), "TPM_RC_AUTH_FAIL");
    expect(text(await unseal(tpm, sealed, { policy, authValue: bytes("pin") }))).toBe("secret");
  });
});

describe("with a policy of another entity's authorization value", () => {
  test("who knows it opens", async () => {
    await using tpm = await it.open();
    const policy: Policy = [
      { kind: "secret", entity: hierarchyEntity("endorsement"), reference: bytes("ref") },
      ...(await pcrPolicy(tpm, 3)),
    ];
    const sealed = await seal(tpm, bytes("secret"), { policy });
    await withAuth(tpm, new Uint8Array(0), async (authorization) => {
      const options = { policy, authorizationOf: () => authorization };
      expect(text(await unseal(tpm, sealed, options))).toBe("secret");
    });
    await withAuth(tpm, bytes("wrong"), async (authorization) => {
      const options = { policy, authorizationOf: () => authorization };
      await expectRefusal(unseal(tpm, sealed, options), "TPM_RC_BAD_AUTH", "TPM_RC_AUTH_FAIL");
    });
  });
});

describe.for(["rsa", "ecc"] as const)("with a policy that an %s key approves", (kind) => {
  const reference = bytes("epoch 1");

  async function approvedBy(key: ReturnType<typeof approver>, policy: Policy): Promise<PolicyStep> {
    const message = approvalMessage(digestOfPolicy(policy), reference);
    const signature = signatureOfBytes(kind, key.sign(message));
    return { kind: "authorize", key: key.public, reference, approval: { policy, signature } };
  }

  test("what it approved opens, also after the PCRs have changed and were approved anew", async () => {
    const key = approver(kind);
    await using tpm = await it.open();
    const bare: Policy = [{ kind: "authorize", key: key.public, reference }];
    const sealed = await seal(tpm, bytes("secret"), { policy: bare });
    const first = [await approvedBy(key, await pcrPolicy(tpm, 7))];
    expect(text(await unseal(tpm, sealed, { policy: first }))).toBe("secret");
    await extendPcr(tpm, 7, "sha256", new Uint8Array(32).fill(9));
    await expectRefusal(unseal(tpm, sealed, { policy: first }), "TPM_RC_VALUE");
    const second = [await approvedBy(key, await pcrPolicy(tpm, 7))];
    expect(text(await unseal(tpm, sealed, { policy: second }))).toBe("secret");
  });

  test("what another key approved does not open", async () => {
    const key = approver(kind);
    const other = approver(kind);
    await using tpm = await it.open();
    const policy = await pcrPolicy(tpm, 7);
    const sealed = await seal(tpm, bytes("secret"), {
      policy: [{ kind: "authorize", key: key.public, reference }],
    });
    const stranger = await approvedBy(other, policy);
    await expectRefusal(unseal(tpm, sealed, { policy: [stranger] }), "TPM_RC_POLICY_FAIL");
    const forged = { ...stranger, key: key.public } as PolicyStep;
    await expectRefusal(unseal(tpm, sealed, { policy: [forged] }), "TPM_RC_SIGNATURE");
  });

  test("an approval of another reference does not open", async () => {
    const key = approver(kind);
    await using tpm = await it.open();
    const sealed = await seal(tpm, bytes("secret"), {
      policy: [{ kind: "authorize", key: key.public, reference: bytes("epoch 2") }],
    });
    const old = await approvedBy(key, await pcrPolicy(tpm, 7));
    await expectRefusal(unseal(tpm, sealed, { policy: [old] }), "TPM_RC_POLICY_FAIL");
  });

  test("a second use of an approval does not have its signature checked again", async () => {
    const key = approver(kind);
    await using tpm = await it.open();
    const policy = [await approvedBy(key, await pcrPolicy(tpm, 7))];
    const sealed = await seal(tpm, bytes("secret"), { policy });
    const counts: number[] = [];
    for (let i = 0; i < 2; i++) {
      const before = tpm.commandCount;
      await unseal(tpm, sealed, { policy });
      counts.push(tpm.commandCount - before);
    }
    // LoadExternal, VerifySignature, FlushContext.
    expect((counts[0] ?? 0) - (counts[1] ?? 0)).toBe(3);
    await clearTpm(tpm);
    const anew = await seal(tpm, bytes("secret"), { policy });
    expect(text(await unseal(tpm, anew, { policy }))).toBe("secret");
  });
});

describe("with a policy of several ways", () => {
  test("each of them opens, and nothing else", async () => {
    await using tpm = await it.open();
    const pcrs = await pcrPolicy(tpm, 7);
    const pin: Policy = [{ kind: "auth-value" }];
    const take = (branch: number): Policy => [
      { kind: "command", command: "TPM2_Unseal" },
      { kind: "or", branches: [pcrs, pin], take: branch },
    ];
    const sealed = await seal(tpm, bytes("secret"), { policy: take(0), authValue: bytes("pin") });
    const authValue = bytes("pin");
    expect(text(await unseal(tpm, sealed, { policy: take(0), authValue }))).toBe("secret");
    await extendPcr(tpm, 7, "sha256", new Uint8Array(32));
    await expectRefusal(unseal(tpm, sealed, { policy: take(0), authValue }), "TPM_RC_VALUE");
    expect(text(await unseal(tpm, sealed, { policy: take(1), authValue }))).toBe("secret");
    await expectRefusal(
      unseal(tpm, sealed, { policy: [{ kind: "command", command: "TPM2_Unseal" }, ...pin], authValue }),
      "TPM_RC_POLICY_FAIL",
    );
  });
});

test("what a policy comes to on the TPM is what is computed, for steps of every kind", async () => {
  await using tpm = await it.open();
  const key = approver("ecc");
  const nv = {
    index: nvIndex(0x01500020),
    nameHash: "sha256",
    attributes: attribute.ownerWrite | attribute.ownerRead | attribute.authRead,
    authPolicy: new Uint8Array(0),
    size: 4,
  } as const;
  await defineNv(tpm, "owner", emptyAuthorization, nv);
  const written = await writeNv(tpm, nv, byOwner, bytes("0001"));
  const compared = { kind: "nv", nv: written, operand: bytes("001"), offset: 1, operation: "equal" } as const;
  const inner: Policy = [...(await pcrPolicy(tpm, 0, 7, 23)), compared];
  const approval = {
    policy: inner,
    signature: signatureOfBytes("ecc", key.sign(approvalMessage(digestOfPolicy(inner), new Uint8Array(0)))),
  };
  const steps: Record<PolicyStep["kind"], Policy> = {
    pcr: await pcrPolicy(tpm, 1, 2),
    nv: [compared, { ...compared, reader: "owner" }],
    authorize: [{ kind: "authorize", key: key.public, approval }],
    "auth-value": [{ kind: "auth-value" }],
    secret: [{ kind: "secret", entity: hierarchyEntity("owner") }],
    or: [{ kind: "or", branches: [inner, anything, []], take: 2 }],
    command: anything,
    "nv-written": [{ kind: "nv-written", written: false }],
  };
  await using session = await startSession(tpm, "policy");
  for (const [kind, policy] of Object.entries(steps)) {
    await satisfyPolicy(tpm, session, policy);
    expect(await readPolicyDigest(tpm, session), kind).toEqual(digestOfPolicy(policy));
  }
  const all = [...steps.authorize, ...steps.pcr, ...steps.secret, ...steps["auth-value"], ...steps.or];
  await satisfyPolicy(tpm, session, all);
  expect(await readPolicyDigest(tpm, session)).toEqual(digestOfPolicy(all));
});
