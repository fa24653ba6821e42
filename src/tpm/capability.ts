// What the TPM says about itself (GetCapability, Part 3, section 30.2), and random numbers.
import type { Reader } from "./buffer.ts";
import type { Command } from "./command.ts";
import { capabilities, properties } from "./constants.ts";
import { type PcrSelection, readPcrBanks } from "./pcr-selection.ts";
import type { Tpm } from "./tpm.ts";

async function getCapability<T>(
  tpm: Tpm,
  capability: number,
  property: number,
  count: number,
  read: (reader: Reader) => T,
): Promise<T> {
  const command: Command = {
    name: "TPM2_GetCapability",
    parameters: (writer) => writer.u32(capability).u32(property).u32(count),
  };
  return await tpm.execute(command, (reader) => {
    // Whether there is more: we ask for what we want.
    reader.u8();
    if (reader.u32() !== capability) throw new SyntaxError("another capability than was asked for");
    return read(reader);
  });
}

/** Reads TPML_TAGGED_TPM_PROPERTY, from `first` on, and picks from it. */
async function readProperties<T>(
  tpm: Tpm,
  first: number,
  count: number,
  pick: (found: ReadonlyMap<number, number>) => T,
): Promise<T> {
  return await getCapability(tpm, capabilities.properties, first, count, (reader) => {
    const found = new Map<number, number>();
    const given = reader.u32();
    if (given > count) throw new SyntaxError("more properties than were asked for");
    for (let i = 0; i < given; i++) found.set(reader.u32(), reader.u32());
    return pick(found);
  });
}

function property(found: ReadonlyMap<number, number>, number: number): number {
  const value = found.get(number);
  if (value === undefined) throw new SyntaxError(`it does not have property 0x${number.toString(16)}`);
  return value;
}

const nvBufferSizes = new WeakMap<Tpm, number>();

/** How many bytes of an NV index one command can read or write (TPM_PT_NV_BUFFER_MAX). Asked for once. @throws TpmError */
export async function nvBufferMax(tpm: Tpm): Promise<number> {
  const known = nvBufferSizes.get(tpm);
  if (known !== undefined) return known;
  const announced = await readProperties(tpm, properties.nvBufferMax, 1, (found) =>
    property(found, properties.nvBufferMax),
  );
  // What does not fit into a command of 4096 bytes with its header and authorizations is nobody's buffer.
  const size = Math.min(2048, Math.max(64, announced));
  nvBufferSizes.set(tpm, size);
  return size;
}

/** The state of the protection against guessing authorization values (Part 1, section 19.8). */
export interface LockoutState {
  readonly inLockout: boolean;
  /** Wrong authorizations that are not forgotten yet. */
  readonly failures: number;
  /** So many failures lock the TPM. */
  readonly maxFailures: number;
  /** After so many seconds one failure is forgotten. */
  readonly intervalSeconds: number;
  /** So many seconds after a wrong lockout authorization the next can be tried. */
  readonly recoverySeconds: number;
  readonly ownerAuthSet: boolean;
  readonly endorsementAuthSet: boolean;
  readonly lockoutAuthSet: boolean;
}

/** Reads the state of the lockout. @throws TpmError */
export async function readLockout(tpm: Tpm): Promise<LockoutState> {
  const count = properties.lockoutRecovery - properties.permanent + 1;
  return await readProperties(tpm, properties.permanent, count, (found) => {
    // TPMA_PERMANENT, Part 2, table 34.
    const permanent = property(found, properties.permanent);
    return {
      ownerAuthSet: (permanent & 0x1) !== 0,
      endorsementAuthSet: (permanent & 0x2) !== 0,
      lockoutAuthSet: (permanent & 0x4) !== 0,
      inLockout: (permanent & 0x200) !== 0,
      failures: property(found, properties.lockoutCounter),
      maxFailures: property(found, properties.maxAuthFail),
      intervalSeconds: property(found, properties.lockoutInterval),
      recoverySeconds: property(found, properties.lockoutRecovery),
    };
  });
}

/** The banks of PCRs that the TPM has, with the PCRs of each. @throws TpmError */
export async function readBanks(tpm: Tpm): Promise<readonly PcrSelection[]> {
  const banks = await getCapability(tpm, capabilities.pcrs, 0, 1, readPcrBanks);
  return banks.filter(({ pcrs }) => pcrs.length > 0);
}

/** The manufacturer's four letters, such as `IBM` for swtpm (TPM_PT_MANUFACTURER). @throws TpmError */
export async function readManufacturer(tpm: Tpm): Promise<string> {
  const number = await readProperties(tpm, properties.manufacturer, 1, (found) =>
    property(found, properties.manufacturer),
  );
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes
    .toString("latin1")
    .replace(/[^ -~]/g, "")
    .trim();
}

/** Random bytes of the TPM's generator, in as many commands as they take. @throws TpmError */
export async function getRandom(tpm: Tpm, count: number): Promise<Uint8Array> {
  const result = new Uint8Array(count);
  for (let at = 0; at < count; ) {
    const wanted = Math.min(32, count - at);
    const command: Command = { name: "TPM2_GetRandom", parameters: (writer) => writer.u16(wanted) };
    at += await tpm.execute(command, (reader) => {
      const bytes = reader.sized(wanted);
      if (bytes.length === 0) throw new SyntaxError("no random bytes");
      result.set(bytes, at);
      return bytes.length;
    });
  }
  return result;
}
