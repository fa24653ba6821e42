// May this manifest be applied here, now? Everything that has to hold before a byte of it is stored: signatures,
// product, place among the releases, expiry, and whom the device would trust after it.
import { MosError } from "../errors/mos-error.ts";
import { pointedGeneration, readGeneration } from "../generation/generations.ts";
import { maxSignatures, type SignedParts } from "../generation/signed-parts.ts";
import { readTrustRecords } from "../generation/trust-records.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import { trustedNow } from "../trust/clock.ts";
import { changesTrust, foldRecord, handOver, type TrustRecord } from "../trust/handover.ts";
import type { SignaturePair, TrustRoot } from "../trust/manifest-signature.ts";
import { checkExpiry, checkSuccession, type ReleaseNumber, unnumbered } from "../trust/release.ts";
import type { AgentContext } from "./context.ts";
import type { LoadedGeneration } from "./load.ts";
import { allPairs, type SigningCandidates } from "./signed-manifest.ts";
import {
  type AcceptedManifest,
  acceptManifest,
  type CurrentRoot,
  currentRoot,
  type DeviceTrust,
  runningProductOf,
} from "./trust.ts";

/** A manifest that may be applied. */
export interface Candidate extends AcceptedManifest {
  /** Digest of the artifact that it came in. */
  readonly artifact: Digest;
  readonly parts: SignedParts;
  /** The device's root at this moment, before the manifest. */
  readonly current: CurrentRoot;
  /** The new trust record that it makes, if it changes whom the device trusts. */
  readonly record: TrustRecord | undefined;
}

interface Question {
  readonly candidates: SigningCandidates;
  readonly running: LoadedGeneration | undefined;
  /** Going back within an epoch is wanted. */
  readonly allowOlder: boolean;
}

/** @throws MosError naming the check that failed */
export async function judge(
  context: AgentContext,
  trust: DeviceTrust,
  question: Question,
): Promise<Candidate> {
  const { candidates, running } = question;
  const { artifact } = candidates;
  const now = trustedNow(new Date(), [
    { date: context.buildTime, source: "the time at which mos was built" },
    ...(running === undefined
      ? []
      : [{ date: running.signers[0].notBefore, source: "the certificate of the running generation" }]),
  ]);
  const time = { kind: "at", ...now } as const;
  const signatures = [...allPairs(candidates)];
  const claim = {
    manifest: candidates.manifest,
    signatures,
    time,
    runningProduct: running === undefined ? undefined : runningProductOf(running.signers),
  };
  const current = running?.current ?? rootWithout(trust, await recordsOnDisk(context), candidates.manifest);
  const accepted = acceptManifest(trust, current.root, claim);
  const release = accepted.manifest.release;
  checkSuccession({
    next: release ?? unnumbered,
    isSame: running !== undefined && running.digest === digestOf(candidates.manifest),
    running: running === undefined ? undefined : (running.manifest.release ?? unnumbered),
    floor: trust.floor,
    allowOlder: question.allowOlder,
  });
  checkExpiry(release?.expires, now);
  const isRecorded = current.records.some(({ manifest }) => isSameBytes(manifest, candidates.manifest));
  if (!changesTrust(release) || isRecorded) {
    const parts = { manifest: candidates.manifest, signatures: accepted.pairs.slice(0, maxSignatures) };
    return { ...accepted, artifact, parts, current, record: undefined };
  }
  refuseSameEpoch(release, running);
  const { parts, record } = recordOf(
    current.root,
    accepted,
    { manifest: candidates.manifest, signatures, change: release },
    time,
  );
  return { ...accepted, artifact, parts, current, record };
}

/**
 * A change of trust begins an epoch: going back within one is allowed, and must not lead to before the change.
 * @throws MosError `handover-refused`
 */
function refuseSameEpoch({ epoch }: ReleaseNumber, running: LoadedGeneration | undefined): void {
  const before = running?.manifest.release?.epoch ?? 0;
  if (running === undefined || epoch > before) return;
  throw new MosError(
    "handover-refused",
    `cannot change whom this device trusts within epoch ${before}: going back would undo it`,
    { about: `epoch ${epoch}`, hint: "Publish the release in a higher epoch." },
  );
}

/** A record keeps the signatures under the old root and under the new one: it is verified under both for ever. */
function recordOf(
  root: TrustRoot,
  accepted: AcceptedManifest,
  proposed: TrustRecord,
  time: Parameters<typeof handOver>[2],
): { readonly parts: SignedParts; readonly record: TrustRecord } {
  const after = handOver(root, proposed, time);
  const pairs = new Set<SignaturePair>([...accepted.pairs, ...after.accepted.map(({ pair }) => pair)]);
  if (pairs.size > maxSignatures) {
    throw new MosError("handover-refused", `cannot keep more than ${maxSignatures} signatures of a release`);
  }
  const parts = { manifest: proposed.manifest, signatures: [...pairs] };
  return { parts, record: { ...parts, change: proposed.change } };
}

function isSameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** The records of the generation that should run, although it cannot be loaded; none when not even that is there. */
export async function recordsOnDisk({ places }: AgentContext): Promise<TrustRecord[]> {
  try {
    const number = await pointedGeneration(places, "current");
    if (number === undefined) return [];
    const { record } = await readGeneration(places, number);
    return await readTrustRecords(places, record.trustRecords);
  } catch (error) {
    if (error instanceof MosError) return [];
    throw error;
  }
}

/**
 * The root of a device that has nothing that runs. One whose disk was wiped after a handover gets it again by being
 * given the very release that handed over.
 */
function rootWithout(trust: DeviceTrust, records: readonly TrustRecord[], manifest: Uint8Array): CurrentRoot {
  const { remembered } = trust;
  if (remembered !== undefined && isSameBytes(foldRecord([manifest]), remembered)) {
    return { root: trust.initialRoot, records: [] };
  }
  return currentRoot(trust, records);
}
