// Policies under which a device's secrets are readable, as the published system has them: digest for digest the same,
// so that either implementation reads what the other has provisioned.

import { nvAttributes } from "../tpm/constants.ts";
import { policyVersion, policyVersionIndex } from "../tpm/nv-layout.ts";
import type { NvPublic } from "../tpm/nv-public.ts";
import { type Approval, type Policy, pcrStep } from "../tpm/policy.ts";
import { publicFromPem } from "../tpm/public-key.ts";
import { signatureOfBytes } from "../tpm/signature.ts";

/** The PCR that Secure Boot's keys, and whose key started the system, are measured into. */
export const secureBootPcr = 7;

/** The index with the policies' version once it is written: its Name is part of the policy. */
function policyVersionPublic(): NvPublic {
  const { index, attributes } = policyVersionIndex;
  return {
    index,
    nameHash: "sha256",
    attributes: attributes | nvAttributes.written,
    authPolicy: new Uint8Array(0),
    size: policyVersion.length,
  };
}

/** Secrets of the running system: PCR 7 has this value, and the policies have not been revoked. */
export function systemPolicy(pcr7: Uint8Array, version = policyVersion): Policy {
  return [
    pcrStep("sha256", new Map([[secureBootPcr, pcr7]])),
    { kind: "nv", nv: policyVersionPublic(), operand: Buffer.from(version), offset: 0, operation: "equal" },
  ];
}

/** The administrator's password: PCR 7 has the value of the UKI that provisions. */
export function passwordPolicy(pcr7: Uint8Array): Policy {
  return [pcrStep("sha256", new Map([[secureBootPcr, pcr7]]))];
}

/**
 * What an index is protected by: whatever policy this key approves.
 * @param publicKeyPem public key or certificate
 * @throws MosError `key-invalid`
 */
export function approvedPolicy(publicKeyPem: string, about: string, approval?: Approval): Policy {
  const key = publicFromPem(publicKeyPem, about);
  return [{ kind: "authorize", key, ...(approval === undefined ? {} : { approval }) }];
}

/** An RSA signature over a policy's digest, as `openssl dgst -sha256 -sign` makes it. */
export function rsaApproval(policy: Policy, signature: Uint8Array): Approval {
  return { policy, signature: signatureOfBytes("rsa", signature) };
}
