// What an installer does with the machine's TPM: trust provision, with what the signed initrd says about trust, and an
// identity that is not on the installer's medium (identity.ts). Looked at before a disk is written, done afterwards.
import { readFile } from "node:fs/promises";
import { checkProvisionable, provision } from "../provision/provision.ts";
import { readPolicyKeys } from "../provision/signdata.ts";
import { defaultTpm } from "../tpm/address.ts";
import { readCertificates } from "../trust/certificate.ts";
import { builtInPolicy, loadPolicy } from "../trust/policy.ts";
import { type IdentitySource, readIdentity } from "./identity.ts";

/** What the initrd passes on (initrd-hooks). */
const initrd = "/run/mos/initrd";

interface Provisioning {
  /** Subject of the device's certificate, and the certificate's SHA-256. */
  readonly subject: string;
  readonly fingerprint: string;
  /** @throws MosError, TpmError; then the TPM counts as not provisioned */
  readonly provision: (onStep: (what: string) => void) => Promise<void>;
}

/**
 * Looks whether it can be done, and changes nothing.
 * @param wipe a TPM that was provisioned before is cleared
 * @throws MosError `install-refused`, `tpm-missing`, `tpm-provisioned`, `signdata-missing`, `policy-invalid`
 */
export async function prepareProvisioning(source: IdentitySource, wipe: boolean): Promise<Provisioning> {
  await checkProvisionable(defaultTpm, wipe);
  const { adminKeyPem, systemKeyPem } = await readPolicyKeys(`${initrd}/pcr7data`, undefined);
  const { product } = await loadPolicy([`${initrd}/policy.json`], builtInPolicy);
  const { certificate, privateKey } = await readIdentity(source, product);
  const anchor = await readFile(`${initrd}/manifestCA.pem`);
  const [leaf] = readCertificates(Buffer.from(certificate));
  return {
    subject: leaf.subject.text,
    fingerprint: leaf.fingerprint,
    provision: async (onStep) => {
      await provision({
        ...{ tpm: defaultTpm, certificate, privateKey, anchor, wipe, onStep },
        ...{ adminKey: adminKeyPem, systemKey: systemKeyPem },
      });
    },
  };
}
