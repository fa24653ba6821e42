// Whose identity a machine gets that an installer provisions. The installer's medium is the same for all machines, and
// anybody may read it: the secret comes from a medium of its own, or the machine makes it itself.
import { randomUUID } from "node:crypto";
import { mkdir, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { run } from "../system/process.ts";
import { issue } from "../trust/issue.ts";
import { deviceProfile, deviceSubject } from "../trust/profiles.ts";

export type IdentitySource = "medium" | "device";

/** PEM of both. The key is secret. */
export interface Identity {
  readonly certificate: string;
  readonly privateKey: string;
}

/** The file system with `cert.pem` and `privkey.pem`, as `trust sudi add` made them for this machine. */
const identityMedium = "/dev/disk/by-label/MOS-IDENTITY";
const mountPoint = "/run/mos/identity";

async function fromMedium(): Promise<Identity> {
  await mkdir(mountPoint, { recursive: true, mode: 0o700 });
  try {
    await run("mount", ["-o", "ro,nosuid,nodev,noexec,nosymfollow", identityMedium, mountPoint]);
    try {
      const read = (name: string): Promise<string> => readFile(join(mountPoint, name), "utf8");
      return { certificate: await read("cert.pem"), privateKey: await read("privkey.pem") };
    } finally {
      await run("umount", [mountPoint]);
    }
  } catch (error) {
    const { message } = asMosError(error, identityMedium);
    throw new MosError(
      "install-refused",
      `cannot install: there is no identity for this machine: ${message}`,
      {
        about: identityMedium,
        hint: "Put cert.pem and privkey.pem of trust sudi add onto a medium whose file system has the label MOS-IDENTITY.",
        cause: error,
      },
    );
  } finally {
    await rmdir(mountPoint).catch(() => undefined);
  }
}

/** What the firmware calls this machine, where that is a name of its own. */
async function machineName(): Promise<string> {
  const text = await readFile("/sys/class/dmi/id/product_uuid", "utf8").catch(() => "");
  const uuid = text.trim().toLowerCase();
  const isOwn = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid) && !/^[0f-]*$/.test(uuid);
  return isOwn ? uuid : randomUUID();
}

/** A key that has never been anywhere else, and a certificate that it has signed itself. */
async function made(product: string): Promise<Identity> {
  const machine = await machineName();
  const { certificatePem, privateKeyPem } = await issue({
    profile: deviceProfile(machine),
    organization: deviceSubject(product, machine),
    keyType: "p256",
    now: new Date(),
  });
  return { certificate: certificatePem, privateKey: privateKeyPem };
}

/**
 * @param product of the device, which a certificate names that is made here
 * @throws MosError `install-refused`
 */
export async function readIdentity(source: IdentitySource, product: string | undefined): Promise<Identity> {
  if (source === "medium") return await fromMedium();
  if (product !== undefined) return await made(product);
  throw new MosError("install-refused", "cannot install: the policy of the initrd names no product");
}
