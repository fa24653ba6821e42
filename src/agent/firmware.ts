// The firmware's and the TPM's part in trust. Their code is loaded only where a policy or the device asks for it.
import { existsSync } from "node:fs";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { epochPath } from "../generation/places.ts";
import type { TpmAddress } from "../tpm/address.ts";
import type { FirmwareAnchors } from "../trust/anchors.ts";
import { fileMemory } from "../trust/file-memory.ts";
import type { TrustMemory } from "../trust/memory.ts";
import type { Policy } from "../trust/policy.ts";
import type { AgentContext, TrustPlaces } from "./context.ts";
import type { SecureBootStatus } from "./status-model.ts";

export function firmwareOf({ efivars, tpm }: TrustPlaces): FirmwareAnchors {
  return { efiDb: () => readProtectedDb(efivars), tpmNv: (index) => readAnchorIndex(tpm, index) };
}

/** Certificates of `db`, which only Secure Boot keeps from being written by anybody. */
async function readProtectedDb(efivars: string): Promise<readonly Uint8Array[] | undefined> {
  if (!existsSync(efivars)) return undefined;
  const [{ readDb }, secureBoot] = await Promise.all([import("../efi/db.ts"), secureBootStatus({ efivars })]);
  if (secureBoot.state !== "enabled") {
    throw new MosError(
      "anchor-unverified",
      `cannot use the certificates of the firmware's db as trust anchors. ${secureBoot.why}`,
      { about: "efi-db" },
    );
  }
  return (await readDb(efivars)).map(({ certificate }) => certificate);
}

/** @throws MosError `anchor-invalid` when the index can still be written without the owner's password */
async function readAnchorIndex(address: TpmAddress, index: number): Promise<Uint8Array | undefined> {
  if (!isThere(address)) return undefined;
  const [{ Tpm }, { readNv, readNvPublicArea }, { nvIndex }, { nvAttributes }] = await Promise.all([
    import("../tpm/tpm.ts"),
    import("../tpm/nv.ts"),
    import("../tpm/nv-public.ts"),
    import("../tpm/constants.ts"),
  ]);
  await using tpm = await Tpm.open(address);
  const nv = await readNvPublicArea(tpm, nvIndex(index));
  if (nv === undefined || (nv.attributes & nvAttributes.written) === 0) return undefined;
  const isLocked = (nv.attributes & nvAttributes.writeLocked) !== 0;
  if (!isLocked && (nv.attributes & nvAttributes.authWrite) !== 0) {
    throw new MosError("anchor-invalid", "cannot use a trust anchor in the TPM that anybody can write", {
      about: `tpm-nv:0x0${index.toString(16)}`,
      hint: "Define the index with TPMA_NV_WRITEDEFINE and lock it, as trust provision does.",
    });
  }
  return await readNv(tpm, nv, { by: "index", access: { kind: "empty" } });
}

function isThere(address: TpmAddress): boolean {
  return address.kind !== "device" || existsSync(address.path);
}

/**
 * What remembers the lowest epoch: the TPM where it was provisioned, else a file where the policy allows it.
 * @throws MosError `tpm-missing`, `tpm-unprovisioned` and others of the TPM where the policy requires one
 */
export async function trustMemory({ places, trust }: AgentContext, policy: Policy): Promise<TrustMemory> {
  const file = fileMemory(epochPath(places));
  if (policy.tpm === "optional" && !isThere(trust.tpm)) return file;
  const { tpmMemory } = await import("../trust/tpm-memory.ts");
  const memory = tpmMemory(trust.tpm, file);
  if (policy.tpm === "required") return memory;
  try {
    // What was read is what is worked with: asking the TPM twice costs twice.
    const remembered = await memory.read();
    return { ...memory, read: async () => remembered };
  } catch (error) {
    // A TPM that the device can do without is no reason to stand still; status says what is used instead.
    const { code } = asMosError(error);
    return { ...file, source: `${file.source} (the TPM: ${code})` };
  }
}

export async function secureBootStatus({ efivars }: Pick<TrustPlaces, "efivars">): Promise<SecureBootStatus> {
  if (!existsSync(efivars))
    return { state: "unverified", why: "This machine was not started by EFI firmware." };
  const { readSecureBootState } = await import("../efi/secure-boot.ts");
  const { kind, why } = await readSecureBootState(efivars);
  return { state: kind, why };
}
