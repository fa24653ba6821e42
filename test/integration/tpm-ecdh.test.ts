// Key agreement in a software TPM, next to what Node computes and to what must be refused.
import { createECDH } from "node:crypto";
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { coordinatesOf, makeEphemeral, pointOfCoordinates } from "../../src/secrets/point.ts";
import { ecdhZGen } from "../../src/tpm/ecdh.ts";
import { createPrimary, type TpmObject } from "../../src/tpm/keys.ts";
import { emptyAuthorization } from "../../src/tpm/session.ts";
import { startSession } from "../../src/tpm/start-session.ts";
import { secretKeyTemplate, storageKeyTemplate } from "../../src/tpm/templates.ts";
import { Tpm } from "../../src/tpm/tpm.ts";
import { type Swtpm, startSwtpm } from "./swtpm-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let swtpm: Swtpm;
beforeAll(async () => {
  work = await makeWorkDirectory();
  swtpm = await startSwtpm(work);
});
afterAll(async () => {
  await swtpm.stop();
  await rm(work, { recursive: true, force: true });
});

type Attempt = (tpm: Tpm, key: TpmObject) => Promise<void>;

async function withKey(template: Parameters<typeof createPrimary>[3], attempt: Attempt): Promise<void> {
  await using tpm = await Tpm.open(swtpm.address);
  await using key = await createPrimary(tpm, "owner", emptyAuthorization, template);
  await attempt(tpm, key);
}

async function agree(tpm: Tpm, key: TpmObject, point: { x: Uint8Array; y: Uint8Array }): Promise<Uint8Array> {
  await using session = await startSession(tpm, "hmac", key);
  const authorization = { kind: "session", session, authValue: new Uint8Array(0), last: false } as const;
  return (await ecdhZGen(tpm, key, authorization, point)).x;
}

function pointOf(key: TpmObject) {
  if (key.public.type !== "ecc") throw new Error("not a key of a curve");
  return pointOfCoordinates(key.public.x, key.public.y);
}

const refused = (name: string) => expect.objectContaining({ message: expect.stringContaining(name) });

describe("a key of the TPM", () => {
  test("agrees with the other side on the same secret", async () => {
    await withKey(secretKeyTemplate, async (tpm, key) => {
      const { point, shared } = makeEphemeral(pointOf(key));
      expect(Buffer.from(await agree(tpm, key, coordinatesOf(point)))).toEqual(Buffer.from(shared));
    });
  });

  test("refuses a point that is not on its curve", async () => {
    await withKey(secretKeyTemplate, async (tpm, key) => {
      const { x } = coordinatesOf(pointOf(key));
      await expect(agree(tpm, key, { x, y: x })).rejects.toEqual(refused("TPM_RC_ECC_POINT"));
    });
  });

  test("does not send what was agreed on in clear", async () => {
    await withKey(secretKeyTemplate, async (tpm, key) => {
      const { point } = makeEphemeral(pointOf(key));
      const attempt = ecdhZGen(tpm, key, emptyAuthorization, coordinatesOf(point));
      await expect(attempt).rejects.toEqual(refused("in clear"));
    });
  });

  test("that wraps other keys is not used to agree on secrets", async () => {
    await withKey(storageKeyTemplate, async (tpm, key) => {
      const exchange = createECDH("prime256v1");
      const point = exchange.generateKeys();
      const other = { x: point.subarray(1, 33), y: point.subarray(33) };
      await expect(agree(tpm, key, other)).rejects.toEqual(refused("TPM_RC_ATTRIBUTES"));
    });
  });
});
