// Reading and writing a provisioned device's secrets, in the minutes in which PCR 7 still has the value under which
// that is approved. Sessions are salted: nothing secret crosses the bus in clear.
import { MosError } from "../errors/mos-error.ts";
import { createPrimary, readPersistent, type TpmObject } from "../tpm/keys.ts";
import { readNv, readNvPublicArea, writeNv } from "../tpm/nv.ts";
import type { NvEntry } from "../tpm/nv-layout.ts";
import type { NvPublic } from "../tpm/nv-public.ts";
import { readPcrs } from "../tpm/pcr.ts";
import type { Policy } from "../tpm/policy.ts";
import { isTpmAnswer } from "../tpm/response-code.ts";
import type { Session } from "../tpm/session.ts";
import { emptyAuthorization } from "../tpm/session.ts";
import { startSession } from "../tpm/start-session.ts";
import { storageKeyHandle, storageKeyTemplate } from "../tpm/templates.ts";
import type { Tpm } from "../tpm/tpm.ts";
import { approvedPolicy, passwordPolicy, rsaApproval, secureBootPcr, systemPolicy } from "./policies.ts";
import { readSigndata, type SigndataKind } from "./signdata.ts";

/**
 * The key that sessions are salted to. A device of the published system has no storage root key at its handle, and
 * its owner's password is not known here: then one of the null hierarchy does, as there.
 */
async function openSaltKey(tpm: Tpm): Promise<TpmObject> {
  try {
    return await readPersistent(tpm, storageKeyHandle);
  } catch (error) {
    if (!isTpmAnswer(error, "TPM_RC_HANDLE")) throw error;
    return await createPrimary(tpm, "null", emptyAuthorization, storageKeyTemplate);
  }
}

/** A policy session that satisfies what the keyset has approved for this start of the machine. */
export class SecretSession implements AsyncDisposable {
  private readonly tpm: Tpm;
  private readonly session: Session & AsyncDisposable;
  private readonly policy: Policy;

  private constructor(tpm: Tpm, session: Session & AsyncDisposable, policy: Policy) {
    this.tpm = tpm;
    this.session = session;
    this.policy = policy;
  }

  /**
   * @param signdata directory of the approved policies
   * @param kind for which kind of UKI the policy has to be approved
   * @throws MosError `signdata-missing`, `signdata-invalid`, TpmError
   */
  static async open(
    tpm: Tpm,
    signdata: string,
    kind: Exclude<SigndataKind, "limited">,
  ): Promise<SecretSession> {
    const pcr7 = (await readPcrs(tpm, "sha256", [secureBootPcr])).get(secureBootPcr);
    if (pcr7 === undefined) throw new MosError("internal", "cannot read PCR 7: the TPM left it out");
    const found = await readSigndata(signdata, pcr7);
    if (found.kind !== kind || found.approval === undefined) {
      throw new MosError(
        "signdata-missing",
        `cannot read secrets: what started this machine is the ${found.kind} UKI of the keyset ${found.keyset}, not the ${kind} one`,
        { about: signdata },
      );
    }
    const policy = kind === "production" ? systemPolicy(pcr7) : passwordPolicy(pcr7);
    const approval = rsaApproval(policy, found.approval.signature);
    await using saltKey = await openSaltKey(tpm);
    const session = await startSession(tpm, "policy", saltKey);
    return new SecretSession(tpm, session, approvedPolicy(found.approval.publicKeyPem, signdata, approval));
  }

  private async find({ index, what }: NvEntry): Promise<NvPublic> {
    const nv = await readNvPublicArea(this.tpm, index);
    if (nv !== undefined) return nv;
    throw new MosError("tpm-unprovisioned", `cannot find ${what} in the TPM (0x${index.toString(16)})`);
  }

  private access() {
    return { by: "index", access: { kind: "policy", session: this.session, policy: this.policy } } as const;
  }

  /** The caller overwrites it after use. @throws TpmError (`TPM_RC_VALUE`, `TPM_RC_POLICY_FAIL`, …) */
  async read(entry: NvEntry): Promise<Uint8Array> {
    return await readNv(this.tpm, await this.find(entry), this.access());
  }

  /** @throws TpmError */
  async write(entry: NvEntry, secret: Uint8Array): Promise<void> {
    await writeNv(this.tpm, await this.find(entry), this.access(), secret);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.session[Symbol.asyncDispose]();
  }
}
