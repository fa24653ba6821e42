// Key agreement with a key that never leaves the TPM.
import type { Command } from "./command.ts";
import type { Entity } from "./names.ts";
import type { Authorization } from "./session.ts";
import type { Tpm } from "./tpm.ts";

/** Coordinates of a point, big endian. */
export interface TpmPoint {
  readonly x: Uint8Array;
  readonly y: Uint8Array;
}

/** The largest coordinate of the curves that mos knows: P-521. */
const maxCoordinate = 66;

/**
 * ECDH_ZGen (Part 3, section 14.5): the private key times a point. Needs a salted session, because the answer is a
 * secret; it is the caller's to wipe.
 * @param key an unrestricted decryption key
 * @throws TpmError (`TPM_RC_ECC_POINT`: the point is not on the key's curve)
 */
export async function ecdhZGen(
  tpm: Tpm,
  key: Entity,
  authorization: Authorization,
  point: TpmPoint,
): Promise<TpmPoint> {
  const command: Command = {
    name: "TPM2_ECDH_ZGen",
    handles: [key],
    authorizations: [authorization],
    parameters: (writer) => writer.sizedBy(() => writer.sized(point.x).sized(point.y)),
    encryptOut: true,
    secret: true,
  };
  return await tpm.execute(command, (reader) =>
    reader.sizedBy((inner) => ({
      x: inner.sized(maxCoordinate).slice(),
      y: inner.sized(maxCoordinate).slice(),
    })),
  );
}
