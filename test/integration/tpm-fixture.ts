// What the tests of the TPM share: one swtpm a file, and the ways to use it.
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect } from "vitest";
import { type Access, emptyAccess } from "../../src/tpm/access.ts";
import { clear } from "../../src/tpm/hierarchy.ts";
import type { NvAccess } from "../../src/tpm/nv.ts";
import type { Policy } from "../../src/tpm/policy.ts";
import { publicFromPem } from "../../src/tpm/public-key.ts";
import { isTpmAnswer, type ResponseCodeName } from "../../src/tpm/response-code.ts";
import { type Authorization, emptyAuthorization } from "../../src/tpm/session.ts";
import { openStorageKey, startSession } from "../../src/tpm/start-session.ts";
import { Tpm } from "../../src/tpm/tpm.ts";
import { type Swtpm, startSwtpm } from "./swtpm-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

export const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
export const bytes = (value: string): Uint8Array => Buffer.from(value);

/** One swtpm for the tests of a file. */
export function swtpmForFile(): { readonly swtpm: Swtpm; readonly directory: string; open(): Promise<Tpm> } {
  let swtpm: Swtpm | undefined;
  let directory = "";
  beforeAll(async () => {
    directory = await makeWorkDirectory();
    swtpm = await startSwtpm(directory);
  });
  afterAll(async () => {
    await swtpm?.stop();
    await rm(directory, { recursive: true, force: true });
  });
  const started = (): Swtpm => {
    if (swtpm === undefined) throw new Error("swtpm has not been started yet");
    return swtpm;
  };
  return {
    get swtpm() {
      return started();
    },
    get directory() {
      return directory;
    },
    open: async () => await Tpm.open(started().address, { deadlineMs: 10_000 }),
  };
}

/** Everything of the owner is gone, and the lockout with it. */
export async function clearTpm(tpm: Tpm): Promise<void> {
  await clear(tpm, "platform", emptyAuthorization);
}

/** The error of something that must not succeed. */
export async function failure(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    () => expect.unreachable("it succeeded"),
    (error: unknown) => error,
  );
}

/** That the TPM refuses with one of these answers. */
export async function expectRefusal(
  work: Promise<unknown>,
  ...answers: readonly ResponseCodeName[]
): Promise<void> {
  const error = await failure(work);
  if (!isTpmAnswer(error, ...answers)) throw error;
}

export const byOwner: NvAccess = { by: "owner", access: emptyAccess };
export const byIndex: NvAccess = { by: "index", access: emptyAccess };

/** Runs `work` with the authorization of something whose authorization value is `authValue`. */
export async function withAuth<T>(
  tpm: Tpm,
  authValue: Uint8Array,
  work: (authorization: Authorization, access: Access) => Promise<T>,
): Promise<T> {
  await using key = await openStorageKey(tpm);
  await using session = await startSession(tpm, "hmac", key);
  return await work({ kind: "session", session, authValue }, { kind: "auth", session, authValue });
}

/** Runs `work` with the access that a policy gives. */
export async function withPolicy<T>(
  tpm: Tpm,
  policy: Policy,
  work: (access: Access) => Promise<T>,
  authValue?: Uint8Array,
): Promise<T> {
  await using key = await openStorageKey(tpm);
  await using session = await startSession(tpm, "policy", key);
  return await work({ kind: "policy", session, policy, ...(authValue === undefined ? {} : { authValue }) });
}

/** A key that approves policies. */
export function approver(kind: "rsa" | "ecc") {
  const pair: { publicKey: KeyObject; privateKey: KeyObject } =
    kind === "rsa"
      ? generateKeyPairSync("rsa", { modulusLength: 2048 })
      : generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = pair.publicKey.export({ type: "spki", format: "pem" }).toString();
  return {
    kind,
    pem,
    public: publicFromPem(pem, "test"),
    sign: (message: Uint8Array): Uint8Array => sign("sha256", message, pair.privateKey),
    privatePem: pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}
