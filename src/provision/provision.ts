// trust provision: a TPM becomes this device's. Everything of its former owner is cleared; passwords are set; the
// device's identity and its passphrases are put where only what the keyset has approved can read them; and the
// indices begin that an update can only raise. A sequence of named steps; one that fails leaves a TPM that is not
// recognised as provisioned, because the layout's version is written last.
import { createPublicKey } from "node:crypto";
import { existsSync } from "node:fs";
import { MosError } from "../errors/mos-error.ts";
import { openState } from "../image/disk-layout.ts";
import type { TpmAddress } from "../tpm/address.ts";
import { getRandom, readLockout } from "../tpm/capability.ts";
import { changeHierarchyAuth, clear, setLockoutLimits } from "../tpm/hierarchy.ts";
import { createPrimary, evictControl, readPersistent, type TpmObject } from "../tpm/keys.ts";
import { defineNv, incrementNv, lockNvWriting, readNvCounter, readNvPublicArea, writeNv } from "../tpm/nv.ts";
import * as layout from "../tpm/nv-layout.ts";
import type { NvPublic } from "../tpm/nv-public.ts";
import { digestOfPolicy } from "../tpm/policy.ts";
import { isTpmAnswer } from "../tpm/response-code.ts";
import { type Authorization, emptyAuthorization, type Session } from "../tpm/session.ts";
import { startSession } from "../tpm/start-session.ts";
import {
  attestationKeyTemplate,
  secretKeyHandle,
  secretKeyTemplate,
  storageKeyHandle,
  storageKeyTemplate,
} from "../tpm/templates.ts";
import { Tpm } from "../tpm/tpm.ts";
import { readCertificates } from "../trust/certificate.ts";
import { productOfDevice } from "../trust/product.ts";
import { readSigningKey } from "../trust/signature.ts";
import { attestationKeyHandle } from "./attestation-key.ts";
import { makePassphrase } from "./passphrase.ts";
import { approvedPolicy } from "./policies.ts";

export interface ProvisionInput {
  readonly tpm: TpmAddress;
  /** PEM of the device's certificate and key (trust sudi add). */
  readonly certificate: string;
  readonly privateKey: string;
  /** PEM of the keys that approve policies: a keyset's tpmpol-admin and tpmpol-luks. */
  readonly adminKey: string;
  readonly systemKey: string;
  /** What the policy's `tpm-nv:0x01500063` names: a manifest CA in PEM, or the hash of its key; undefined for none. */
  readonly anchor?: Uint8Array;
  /** Clears a TPM that was provisioned before. */
  readonly wipe: boolean;
  readonly onStep: (what: string) => void;
}

/** Guessing stays expensive: 32 wrong answers lock the TPM, and one is forgotten every ten minutes. */
const lockoutLimits = { maxFailures: 32, intervalSeconds: 600, recoverySeconds: 3600 } as const;

const none = new Uint8Array(0);
const randomLength = 32;

function checkIdentity({ certificate, privateKey }: ProvisionInput): void {
  const [leaf] = readCertificates(Buffer.from(certificate));
  const about = leaf.subject.text;
  if (productOfDevice(leaf.subject.serialNumber) === undefined) {
    throw new MosError("certificate-malformed", `cannot provision with ${about}: it names no device`, {
      about,
    });
  }
  const key = readSigningKey(privateKey, "the device's private key");
  const isPair = leaf.publicKey.object.equals(createPublicKey(key));
  if (!isPair) {
    throw new MosError("key-invalid", "cannot provision with a private key that is not the certificate's", {
      about,
    });
  }
}

/** Runs the steps with an open TPM that is ours. @throws MosError `tpm-provisioned`, TpmError */
export async function provision(
  input: ProvisionInput,
): Promise<{ readonly attestationKey: TpmObject["public"] }> {
  checkIdentity(input);
  if (existsSync(openState)) {
    throw new MosError(
      "state-encrypted",
      "cannot provision: the state of this device is encrypted to its TPM, and clearing that would lose it",
    );
  }
  await using tpm = await Tpm.open(input.tpm);
  input.onStep("clearing the TPM");
  await clearTpm(tpm, input.wipe);
  input.onStep("making its keys");
  const storageKey = await makePersistent(tpm, storageKeyTemplate, storageKeyHandle);
  const attestationKey = await makePersistent(tpm, attestationKeyTemplate, attestationKeyHandle);
  await makePersistent(tpm, secretKeyTemplate, secretKeyHandle);
  await using session = await startSession(tpm, "hmac", storageKey);
  const owner = new Owner(tpm, session);
  input.onStep("limiting guesses");
  await setLockoutLimits(tpm, emptyAuthorization, lockoutLimits);
  input.onStep("storing identity and passphrases");
  const password = makePassphrase(layout.passwordLength, await getRandom(tpm, randomLength));
  const factory = makePassphrase(layout.passphraseLength, await getRandom(tpm, randomLength));
  const system = makePassphrase(layout.passphraseLength, await getRandom(tpm, randomLength));
  const policies = {
    "tpmpol-admin": digestOfPolicy(approvedPolicy(input.adminKey, "tpmpol-admin")),
    "tpmpol-luks": digestOfPolicy(approvedPolicy(input.systemKey, "tpmpol-luks")),
  };
  try {
    const store = (entry: layout.NvEntry, content: Uint8Array): Promise<NvPublic> =>
      owner.store(entry, content, entry.policyKey === undefined ? none : policies[entry.policyKey]);
    await store(layout.passwordIndex, password);
    await store(layout.policyVersionIndex, Buffer.from(layout.policyVersion));
    await store(layout.deviceCertificateIndex, Buffer.from(input.certificate));
    await store(layout.deviceKeyIndex, Buffer.from(input.privateKey));
    await store(layout.factoryPassphraseIndex, factory);
    await store(layout.systemPassphraseIndex, system);
    input.onStep("starting the counters");
    await owner.beginEpoch();
    await owner.define(layout.trustRecordIndex, layout.digestSize, none);
    if (input.anchor !== undefined) await owner.storeForEver(layout.anchorIndex, input.anchor);
    await store(layout.layoutVersionIndex, Buffer.from(layout.layoutVersion));
    input.onStep("setting its passwords");
    await owner.setPasswords(password);
  } finally {
    for (const secret of [password, factory, system]) secret.fill(0);
  }
  return { attestationKey: attestationKey.public };
}

/**
 * Looks whether {@link provision} would clear this TPM, and changes nothing.
 * @throws MosError `tpm-missing`, `tpm-provisioned`, TpmError
 */
export async function checkProvisionable(address: TpmAddress, wipe: boolean): Promise<void> {
  await using tpm = await Tpm.open(address);
  await checkOwner(tpm, wipe);
  if (!(await readLockout(tpm)).lockoutAuthSet) return;
  throw new MosError("tpm-provisioned", "cannot clear the TPM: it has passwords that are not known here", {
    hint: "Clear the TPM in the firmware's setup, then provision it.",
  });
}

async function checkOwner(tpm: Tpm, wipe: boolean): Promise<void> {
  const provisioned = (await readNvPublicArea(tpm, layout.layoutVersionIndex.index)) !== undefined;
  if (provisioned && !wipe)
    throw new MosError("tpm-provisioned", "cannot provision a TPM that is provisioned already");
}

/**
 * Clears a TPM that nobody owns, or that its owner said to wipe. Only the platform may clear one whose lockout
 * password is set and not known: then the firmware's setup has to.
 */
async function clearTpm(tpm: Tpm, wipe: boolean): Promise<void> {
  await checkOwner(tpm, wipe);
  const { lockoutAuthSet } = await readLockout(tpm);
  if (!lockoutAuthSet) return await clear(tpm, "lockout", emptyAuthorization);
  try {
    await clear(tpm, "platform", emptyAuthorization);
  } catch (error) {
    throw new MosError("tpm-provisioned", "cannot clear the TPM: it has passwords that are not known here", {
      hint: "Clear the TPM in the firmware's setup, then provision it.",
      cause: error,
    });
  }
}

async function makePersistent(
  tpm: Tpm,
  template: Parameters<typeof createPrimary>[3],
  handle: number,
): Promise<TpmObject> {
  try {
    return await readPersistent(tpm, handle);
  } catch (error) {
    if (!isTpmAnswer(error, "TPM_RC_HANDLE")) throw error;
  }
  await using made = await createPrimary(tpm, "owner", emptyAuthorization, template);
  await evictControl(tpm, emptyAuthorization, made, handle);
  return await readPersistent(tpm, handle);
}

/** The owner of a TPM that was just cleared: its password is empty until {@link setPasswords}. */
class Owner {
  private readonly tpm: Tpm;
  private readonly session: Session;

  constructor(tpm: Tpm, session: Session) {
    this.tpm = tpm;
    this.session = session;
  }

  private get authorization(): Authorization {
    return { kind: "session", session: this.session, authValue: none, last: false };
  }

  private get access() {
    return { by: "owner", access: { kind: "auth", session: this.session, authValue: none } } as const;
  }

  async define(entry: layout.NvEntry, size: number, policy: Uint8Array): Promise<NvPublic> {
    const { index, attributes } = entry;
    const nv: NvPublic = { index, nameHash: "sha256", attributes, authPolicy: policy, size };
    await defineNv(this.tpm, "owner", this.authorization, nv);
    return nv;
  }

  async store(entry: layout.NvEntry, content: Uint8Array, policy: Uint8Array): Promise<NvPublic> {
    const nv = await this.define(entry, content.length, policy);
    return await writeNv(this.tpm, nv, this.access, content);
  }

  async storeForEver(entry: layout.NvEntry, content: Uint8Array): Promise<void> {
    await lockNvWriting(this.tpm, await this.store(entry, content, none), this.access);
  }

  /** The counter's first value is the TPM's choice: epoch 0 is where it begins. */
  async beginEpoch(): Promise<void> {
    const defined = await this.define(layout.epochIndex, layout.counterSize, none);
    const counter = await incrementNv(this.tpm, defined, this.access);
    const base = Buffer.alloc(layout.counterSize);
    base.writeBigUInt64BE(await readNvCounter(this.tpm, counter, this.access));
    await this.storeForEver(layout.epochBaseIndex, base);
  }

  /** Owner last: until then each step can be authorized with the empty one. */
  async setPasswords(password: Uint8Array): Promise<void> {
    for (const hierarchy of ["lockout", "endorsement", "owner"] as const) {
      await changeHierarchyAuth(this.tpm, hierarchy, this.authorization, password);
    }
  }
}
