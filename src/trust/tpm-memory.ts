// The memory that survives a disk put back to an older copy: a counter and a fold in the TPM, which can be raised and
// extended but not set. Who guesses or breaks in can raise them and so lock the device; nobody can go back.
import { MosError } from "../errors/mos-error.ts";
import type { TpmAddress } from "../tpm/address.ts";
import { nvAttributes, nvKinds } from "../tpm/constants.ts";
import { digest } from "../tpm/hashes.ts";
import { extendNv, incrementNv, type NvAccess, readNv, readNvPublicArea } from "../tpm/nv.ts";
import { epochBaseIndex, epochIndex, type NvEntry, trustRecordIndex } from "../tpm/nv-layout.ts";
import type { NvPublic } from "../tpm/nv-public.ts";
import { Tpm } from "../tpm/tpm.ts";
import type { TrustMemory } from "./memory.ts";

const byIndex: NvAccess = { by: "index", access: { kind: "empty" } };
const kindMask = 0xf0;

function unprovisioned(why: string): MosError {
  return new MosError("tpm-unprovisioned", `cannot rely on this TPM: ${why}`);
}

/** An index as provisioning left it. @throws MosError `tpm-unprovisioned` */
async function find(tpm: Tpm, { index, what }: NvEntry, kind: number, also: number): Promise<NvPublic> {
  const nv = await readNvPublicArea(tpm, index);
  if (nv === undefined) throw unprovisioned(`it does not hold ${what} (0x${index.toString(16)})`);
  const wanted = nvAttributes.authRead | also;
  // Unsigned, because the highest attribute is the sign bit of JavaScript's numbers.
  const has = (nv.attributes & wanted) >>> 0 === wanted >>> 0;
  if ((nv.attributes & kindMask) !== kind || !has) {
    throw unprovisioned(`what it holds at 0x${index.toString(16)} is not ${what}`);
  }
  return nv;
}

interface Counter {
  readonly nv: NvPublic;
  readonly epoch: number;
}

async function readEpoch(tpm: Tpm): Promise<Counter> {
  const nv = await find(tpm, epochIndex, nvKinds.counter, nvAttributes.written);
  const base = await find(
    tpm,
    epochBaseIndex,
    nvKinds.ordinary,
    nvAttributes.written | nvAttributes.writeLocked,
  );
  const value = (bytes: Uint8Array): bigint => Buffer.from(bytes).readBigUInt64BE();
  const counted = value(await readNv(tpm, nv, byIndex, { size: 8 }));
  const began = value(await readNv(tpm, base, byIndex, { size: 8 }));
  const epoch = Number(counted - began);
  if (epoch < 0 || !Number.isSafeInteger(epoch)) throw unprovisioned("its epoch is below where it began");
  return { nv, epoch };
}

/** The fold of no records: an index that was never extended cannot be read. */
const nothing = new Uint8Array(32);

async function readRecord(tpm: Tpm): Promise<{ readonly nv: NvPublic; readonly value: Uint8Array }> {
  const nv = await find(tpm, trustRecordIndex, nvKinds.extend, 0);
  const isWritten = (nv.attributes & nvAttributes.written) !== 0;
  return { nv, value: isWritten ? await readNv(tpm, nv, byIndex) : nothing };
}

/**
 * The memory in a TPM that was provisioned (tpm/nv-layout.ts). Reading costs 6 TPM commands.
 * @param beside a memory that learns the same, for the day on which a device without need of its TPM loses it
 */
export function tpmMemory(address: TpmAddress, beside: TrustMemory): TrustMemory {
  const open = () => Tpm.open(address);
  return {
    source: "the TPM",
    kind: "tpm",
    read: async () => {
      await using tpm = await open();
      const { epoch } = await readEpoch(tpm);
      const { value } = await readRecord(tpm);
      return { epoch, record: value };
    },
    raiseEpoch: async (to) => {
      await using tpm = await open();
      let { nv, epoch } = await readEpoch(tpm);
      for (; epoch < to; epoch++) nv = await incrementNv(tpm, nv, byIndex);
      await beside.raiseEpoch(to);
    },
    extendRecord: async (manifest) => {
      await using tpm = await open();
      const { nv } = await readRecord(tpm);
      await extendNv(tpm, nv, byIndex, digest("sha256", manifest));
    },
  };
}
