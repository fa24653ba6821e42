// Public areas that keys are made from. A primary key is derived from its template, so that every bit of it counts.
import { algorithms, objectAttributes as attribute } from "./constants.ts";
import type { PolicyDigest } from "./policy-digest.ts";
import type { EccPublic, KeyedHashPublic } from "./public.ts";

const none = new Uint8Array(0);
const ownKey =
  attribute.fixedTpm | attribute.fixedParent | attribute.sensitiveDataOrigin | attribute.userWithAuth;

/** The handle that the storage root key has (TCG TPM v2.0 Provisioning Guidance, section 7.8, table 2). */
export const storageKeyHandle = 0x81000001;

/**
 * The storage root key on P-256: template L-2 of the TCG EK Credential Profile, with the attributes of the TCG TPM v2.0
 * Provisioning Guidance, section 7.5.1. systemd makes its own from the same template.
 */
export const storageKeyTemplate: EccPublic = {
  type: "ecc",
  nameHash: "sha256",
  attributes: ownKey | attribute.noDa | attribute.restricted | attribute.decrypt,
  authPolicy: none,
  symmetric: { algorithm: "aes", bits: 128, mode: algorithms.cfb },
  scheme: undefined,
  curve: "p256",
  x: none,
  y: none,
};

/** A key on P-256 that signs nothing but statements of the TPM. */
export const attestationKeyTemplate: EccPublic = {
  type: "ecc",
  nameHash: "sha256",
  attributes: ownKey | attribute.noDa | attribute.restricted | attribute.sign,
  authPolicy: none,
  symmetric: undefined,
  scheme: { scheme: "ecdsa", hash: "sha256" },
  curve: "p256",
  x: none,
  y: none,
};

/** In the range of the owner's keys, beside the one that makes statements (provision/attestation-key.ts). */
export const secretKeyHandle = 0x81010021;

/** A key on P-256 that secrets are encrypted to: it agrees on them (ECDH), and signs nothing. */
export const secretKeyTemplate: EccPublic = {
  type: "ecc",
  nameHash: "sha256",
  attributes: ownKey | attribute.noDa | attribute.decrypt,
  authPolicy: none,
  symmetric: undefined,
  scheme: { scheme: "ecdh", hash: "sha256" },
  curve: "p256",
  x: none,
  y: none,
};

/**
 * Sealed data that only a policy opens. Wrong attempts count towards the lockout only where the policy asks for an
 * authorization value.
 */
export function sealedTemplate(policy: PolicyDigest): KeyedHashPublic {
  return {
    type: "keyedHash",
    nameHash: "sha256",
    attributes: attribute.fixedTpm | attribute.fixedParent | attribute.adminWithPolicy,
    authPolicy: policy,
    unique: none,
  };
}
