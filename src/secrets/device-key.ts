// This device's key for secrets, in its TPM: made when the device is provisioned, it never leaves. Whoever controls the
// running system can use it; a disk that was copied, or put into another machine, opens nothing (attack A28).
import { MosError } from "../errors/mos-error.ts";
import type { TpmAddress } from "../tpm/address.ts";
import { objectAttributes } from "../tpm/constants.ts";
import { ecdhZGen } from "../tpm/ecdh.ts";
import { readPersistent, type TpmObject } from "../tpm/keys.ts";
import { isTpmAnswer } from "../tpm/response-code.ts";
import { startSession } from "../tpm/start-session.ts";
import { secretKeyHandle, secretKeyTemplate } from "../tpm/templates.ts";
import { Tpm } from "../tpm/tpm.ts";
import type { Agree } from "./hpke.ts";
import { coordinatesOf, type Point, pointOfCoordinates } from "./point.ts";
import { type KeyId, keyIdOf } from "./recipient.ts";

const none = new Uint8Array(0);

/** The public part of the device's key. */
export interface DevicePublicKey {
  readonly point: Point;
  readonly id: KeyId;
}

/** The device's key, for as long as the TPM is open. */
export interface DeviceKey extends DevicePublicKey {
  readonly agree: Agree;
}

interface Found extends DevicePublicKey {
  readonly object: TpmObject;
}

/** What is there must be such a key as provisioning makes; one that could be copied would keep no secret. */
async function findKey(tpm: Tpm): Promise<Found> {
  let object: TpmObject;
  try {
    object = await readPersistent(tpm, secretKeyHandle);
  } catch (error) {
    if (!isTpmAnswer(error, "TPM_RC_HANDLE")) throw error;
    throw new MosError("tpm-unprovisioned", "cannot find this device's key for secrets in its TPM", {
      about: `0x${secretKeyHandle.toString(16)}`,
      hint: "trust provision makes it, with all else that it puts into a TPM.",
      cause: error,
    });
  }
  const area = object.public;
  const wanted = secretKeyTemplate.attributes;
  if (
    area.type !== "ecc" ||
    area.curve !== secretKeyTemplate.curve ||
    (area.attributes & (wanted | objectAttributes.restricted)) !== wanted
  ) {
    throw new MosError(
      "tpm-unprovisioned",
      "cannot use what is in the place of this device's key for secrets",
      {
        about: `0x${secretKeyHandle.toString(16)}`,
      },
    );
  }
  const point = pointOfCoordinates(area.x, area.y);
  return { object, point, id: keyIdOf(point) };
}

/**
 * Reads the device's public key.
 * @throws MosError `tpm-missing`, `tpm-unreachable`, `permission-denied`, `tpm-unprovisioned`; TpmError
 */
export async function readDeviceKey(address: TpmAddress): Promise<DevicePublicKey> {
  await using tpm = await Tpm.open(address);
  const { point, id } = await findKey(tpm);
  return { point, id };
}

/**
 * Opens the device's key for `work`. Costs 3 TPM commands, and one more for each agreement.
 *
 * The session is salted to the key itself: that its hash is in a signed manifest says that it is the right one, so that
 * nobody on the bus can stand between.
 * @throws as {@link readDeviceKey}, and whatever `work` throws
 */
export async function withDeviceKey<T>(
  address: TpmAddress,
  work: (key: DeviceKey) => Promise<T>,
): Promise<T> {
  await using tpm = await Tpm.open(address);
  const { object, point, id } = await findKey(tpm);
  await using session = await startSession(tpm, "hmac", object);
  const authorization = { kind: "session", session, authValue: none, last: false } as const;
  const agree: Agree = async (other) => {
    const { x, y } = await ecdhZGen(tpm, object, authorization, coordinatesOf(other));
    const shared = new Uint8Array(32);
    shared.set(x, shared.length - x.length);
    for (const wiped of [x, y]) wiped.fill(0);
    return shared;
  };
  return await work({ point, id, agree });
}
