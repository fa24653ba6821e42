// The policies, Names and PCR values of the published system, recomputed.
import { createPublicKey } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import * as z from "zod";
import { digest } from "../../../src/tpm/hashes.ts";
import { nameOfNv, nameOfPublic } from "../../../src/tpm/names.ts";
import { type NvPublic, nvIndex } from "../../../src/tpm/nv-public.ts";
import { digestOfPolicy, type Policy, pcrStep } from "../../../src/tpm/policy.ts";
import { approvalMessage } from "../../../src/tpm/policy-digest.ts";
import { keyObjectOf, publicFromPem } from "../../../src/tpm/public-key.ts";
import { signatureOfBytes, verifySignature } from "../../../src/tpm/signature.ts";

const path = join(import.meta.dirname, "../../../../shared/vectors/tpm-vectors.json");
const hex = z.string().transform((text) => new Uint8Array(Buffer.from(text, "hex")));
const schema = z.object({
  nv_name_ea_version: z.object({ name: hex }),
  pcr7_snakeoil: z.object({
    events_in_order: z.array(z.object({ digest: hex })),
    pcr7_before_uki: hex,
    uki: z.record(z.string(), hex),
  }),
  policies: z.array(
    z.object({
      set: z.string(),
      dir: z.string(),
      pcr7: hex,
      policy_kind: z.enum(["luks", "tpmpass"]).optional(),
      policy_digest: hex.optional(),
      signature: hex.optional(),
      pubkey: z.string().optional(),
    }),
  ),
  policyauthorize: z.object({
    keys: z.array(
      z.object({ set: z.string(), pubkey: z.string(), modulus: hex, object_name: hex, nv_authPolicy: hex }),
    ),
  }),
});

const version: NvPublic = {
  index: nvIndex(0x01500020),
  nameHash: "sha256",
  attributes: 0x20060002,
  authPolicy: new Uint8Array(0),
  size: 4,
};

/** A PEM as signdata has it, from a vector's modulus. */
function pemOf(modulus: Uint8Array): string {
  const jwk = { kty: "RSA", n: Buffer.from(modulus).toString("base64url"), e: "AQAB" };
  return createPublicKey({ key: jwk, format: "jwk" }).export({ type: "spki", format: "pem" }).toString();
}

describe.skipIf(!existsSync(path))("of the published system,", () => {
  const vectors = existsSync(path) ? schema.parse(JSON.parse(readFileSync(path, "utf8"))) : undefined;
  const { policies = [], policyauthorize: { keys } = { keys: [] } } = vectors ?? {};

  test("the Name of the version index is right", () => {
    expect(nameOfNv(version)).toEqual(vectors?.nv_name_ea_version.name);
  });

  test("keys have the Names, and indices the policies, that they have", () => {
    expect(keys.length).toBeGreaterThan(7);
    for (const { pubkey, modulus, object_name, nv_authPolicy } of keys) {
      const key = publicFromPem(pemOf(modulus), pubkey);
      expect(nameOfPublic(key), pubkey).toEqual(object_name);
      expect(digestOfPolicy([{ kind: "authorize", key }]), pubkey).toEqual(nv_authPolicy);
    }
  });

  test("policies come to the digests that were signed, and the signatures are of their keys", () => {
    const signed = policies.filter(({ signature }) => signature !== undefined);
    expect(signed.length).toBeGreaterThan(10);
    for (const { pcr7, policy_kind, policy_digest, signature, pubkey, dir, set } of signed) {
      const pcr = pcrStep("sha256", new Map([[7, pcr7]]));
      const compared = { nv: version, operand: Buffer.from("0001"), offset: 0, operation: "equal" } as const;
      const policy: Policy = policy_kind === "luks" ? [pcr, { kind: "nv", ...compared }] : [pcr];
      const reached = digestOfPolicy(policy);
      expect(reached, dir).toEqual(policy_digest);
      const key = keys.find((k) => k.set === set && `pubkeys/${k.pubkey}` === pubkey);
      const object = key && keyObjectOf(publicFromPem(pemOf(key.modulus), key.pubkey));
      if (object === undefined || signature === undefined) throw new Error(`no key ${pubkey}`);
      const message = approvalMessage(reached, new Uint8Array(0));
      expect(verifySignature(object, message, signatureOfBytes("rsa", signature)), dir).toBe(true);
    }
  });

  test("PCR 7 comes out of its events", () => {
    const events = vectors?.pcr7_snakeoil.events_in_order ?? [];
    const extend = (pcr: Uint8Array, event: { digest: Uint8Array }) => digest("sha256", pcr, event.digest);
    expect(events.reduce(extend, new Uint8Array(32))).toEqual(vectors?.pcr7_snakeoil.pcr7_before_uki);
  });
});
