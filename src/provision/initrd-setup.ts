// trust initrd-setup and trust preinstall: in the initrd, the device's secrets are taken out of the TPM, and the TPM is
// closed. Whatever happens on the way, PCR 7 is extended; what cannot be done ends in an error, and whoever called
// must not go on to start the system (the unit of the dracut module powers off).
import { join } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import { makeDirectory, writeFileAtomic } from "../system/atomic-file.ts";
import { addUserKey } from "../system/libc.ts";
import type { TpmAddress } from "../tpm/address.ts";
import { getRandom } from "../tpm/capability.ts";
import { readNvPublicArea } from "../tpm/nv.ts";
import {
  deviceCertificateIndex,
  deviceKeyIndex,
  layoutVersionIndex,
  passphraseLength,
  systemPassphraseIndex,
} from "../tpm/nv-layout.ts";
import { Tpm } from "../tpm/tpm.ts";
import { closePcr7 } from "./close-pcr7.ts";
import { makePassphrase } from "./passphrase.ts";
import { SecretSession } from "./read-secrets.ts";

export interface InitrdSetup {
  readonly tpm: TpmAddress;
  /** Directory of the approved policies (signdata.ts). */
  readonly signdata: string;
  /** A directory in memory, for root only, that the running system keeps. */
  readonly directory: string;
}

/** Name of the passphrase in the kernel's keyring, the published system's. */
const keyName = "machine:luks";

/** Bytes from the TPM for a new passphrase. */
const randomLength = 32;

/** Does something with an open TPM, and closes its secrets whatever came of it. */
async function thenClose<T>(address: TpmAddress, work: (tpm: Tpm) => Promise<T>): Promise<T> {
  await using tpm = await Tpm.open(address);
  let failure: unknown;
  let result: { readonly value: T } | undefined;
  try {
    result = { value: await work(tpm) };
  } catch (error) {
    failure = error;
  }
  await closePcr7(tpm);
  if (result === undefined) throw failure;
  return result.value;
}

function keep(passphrase: Uint8Array): void {
  if (addUserKey(keyName, passphrase)) return;
  throw new MosError("io-failed", "cannot put the system's passphrase into the kernel's keyring");
}

/**
 * Takes certificate, key and passphrase out of the TPM. A TPM that was never provisioned has none, which is no error:
 * it is closed all the same.
 * @throws MosError `tpm-missing`, `signdata-missing`, `signdata-invalid`, TpmError; PCR 7 is extended then too, unless
 * the TPM itself refuses that
 */
export function initrdSetup({
  tpm: address,
  signdata,
  directory,
}: InitrdSetup): Promise<"ready" | "unprovisioned"> {
  return thenClose(address, async (tpm) => {
    if ((await readNvPublicArea(tpm, layoutVersionIndex.index)) === undefined) return "unprovisioned";
    await using session = await SecretSession.open(tpm, signdata, "production");
    const certificate = await session.read(deviceCertificateIndex);
    const key = await session.read(deviceKeyIndex);
    const passphrase = await session.read(systemPassphraseIndex);
    try {
      await makeDirectory(directory, 0o700);
      await writeFileAtomic(join(directory, "server.crt"), certificate, 0o644);
      await writeFileAtomic(join(directory, "server.key"), key, 0o600);
      keep(passphrase);
    } finally {
      for (const secret of [key, passphrase]) secret.fill(0);
    }
    return "ready";
  });
}

/**
 * Gives the system a new passphrase, before it is installed: what an earlier installation has encrypted is lost.
 * @throws as {@link initrdSetup}
 */
export function preinstall({ tpm: address, signdata }: Pick<InitrdSetup, "tpm" | "signdata">): Promise<void> {
  return thenClose(address, async (tpm) => {
    await using session = await SecretSession.open(tpm, signdata, "production");
    const passphrase = makePassphrase(passphraseLength, await getRandom(tpm, randomLength));
    try {
      await session.write(systemPassphraseIndex, passphrase);
      keep(passphrase);
    } finally {
      passphrase.fill(0);
    }
  });
}
