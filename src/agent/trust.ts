// Whom this device trusts now, and what it may not go back to: its policy, the anchors that the policy names, the
// handovers and revocations it has accepted since, its product, and what its TPM or a file remembers.
import { MosError } from "../errors/mos-error.ts";
import { makeNamesDurable } from "../generation/durable-names.ts";
import type { Generation, GenerationContent } from "../generation/generations.ts";
import type { SignedParts } from "../generation/signed-parts.ts";
import { readTrustRecords } from "../generation/trust-records.ts";
import { parseInstallManifest } from "../manifest/install-json.ts";
import { mergeManifests } from "../manifest/merge.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import { loadAnchors } from "../trust/anchors.ts";
import type { ValidityTime } from "../trust/chain.ts";
import { deviceProduct } from "../trust/device-identity.ts";
import { foldRecord, type TrustRecord, walkRecord } from "../trust/handover.ts";
import type { ManifestSigner, SignaturePair, TrustRoot } from "../trust/manifest-signature.ts";
import { type AcceptedPair, verifyManifest } from "../trust/manifest-signature.ts";
import type { TrustMemory } from "../trust/memory.ts";
import { loadPolicy, type Policy } from "../trust/policy.ts";
import { checkProduct, type DeviceProduct, productOfSigner } from "../trust/product.ts";
import { checkEpoch, type EpochFloor, unnumbered } from "../trust/release.ts";
import type { AgentContext } from "./context.ts";
import { firmwareOf, trustMemory } from "./firmware.ts";

export interface DeviceTrust {
  readonly policy: Policy;
  /** As the policy has it, before any handover. */
  readonly initialRoot: TrustRoot;
  readonly product: DeviceProduct | undefined;
  readonly floor: EpochFloor;
  readonly memory: TrustMemory;
  /** The fold of the accepted trust records, where the memory keeps it. */
  readonly remembered: Uint8Array | undefined;
}

/**
 * What decides about manifests on this device, before any of them is looked at.
 * @throws MosError `policy-invalid`, `anchor-missing`, `anchor-invalid`, `anchor-unverified`, `product-mismatch`,
 * and those of the TPM where the policy requires one
 */
export async function loadTrust(context: AgentContext): Promise<DeviceTrust> {
  const { trust } = context;
  const policy = await loadPolicy(trust.policies, trust.builtIn);
  const product = await deviceProduct(policy, trust.deviceCertificates);
  const anchors = await loadAnchors(policy.anchors, { initrd: trust.initrd, firmware: firmwareOf(trust) });
  const memory = await trustMemory(context, policy);
  const { epoch, record } = await memory.read();
  return {
    policy,
    initialRoot: { ...anchors, revoked: new Set(policy.revoked), threshold: policy.signatures },
    product,
    floor: { epoch, source: memory.source },
    memory,
    remembered: record,
  };
}

/** Where a device stands after the trust records of one of its generations. */
export interface CurrentRoot {
  readonly root: TrustRoot;
  readonly records: readonly TrustRecord[];
}

function isRemembered(remembered: Uint8Array | undefined, records: readonly TrustRecord[]): boolean {
  if (remembered === undefined) return true;
  return Buffer.compare(foldRecord(records.map(({ manifest }) => manifest)), remembered) === 0;
}

/**
 * The root of today: the policy's, after these records.
 * @throws MosError `trust-rolled-back` when they are not what the memory holds, and what verifying them throws
 */
export function currentRoot(trust: DeviceTrust, records: readonly TrustRecord[]): CurrentRoot {
  // A power cut may have come before the memory learnt of the last one.
  const isKnown =
    isRemembered(trust.remembered, records) ||
    (records.length > 0 && isRemembered(trust.remembered, records.slice(0, -1)));
  if (!isKnown) {
    throw new MosError(
      "trust-rolled-back",
      `cannot trust the ${records.length} handovers and revocations on the disk: ${trust.memory.source} remembers others`,
      { about: trust.memory.source },
    );
  }
  return { root: walkRecord(trust.initialRoot, records), records };
}

/**
 * Brings the memory up to a generation that runs. Every step can be repeated: what it remembers already, it is not
 * told again.
 * @param records that are in effect with the generation
 */
export async function remember(
  { places }: AgentContext,
  { memory, floor, remembered }: DeviceTrust,
  records: readonly TrustRecord[],
  epoch: number,
): Promise<void> {
  const last = records.at(-1);
  const isNew = last !== undefined && !isRemembered(remembered, records);
  // The memory cannot forget: that this generation runs has to outlive a power cut before it learns of it.
  if (isNew || epoch > floor.epoch) await makeNamesDurable(places);
  if (isNew) await memory.extendRecord(last.manifest);
  if (epoch > floor.epoch) await memory.raiseEpoch(epoch);
}

/** A manifest whose signatures hold on this device. */
export interface AcceptedManifest {
  readonly manifest: InstallManifest;
  readonly signers: readonly [ManifestSigner, ...ManifestSigner[]];
  readonly pairs: readonly SignaturePair[];
}

interface Claim {
  readonly manifest: Uint8Array;
  readonly signatures: Iterable<SignaturePair>;
  readonly time: ValidityTime;
  /** The product of the certificate under which something runs here. */
  readonly runningProduct?: string | undefined;
}

/**
 * Verifies a manifest: signatures, chain, number of signers, schema, product, epoch.
 * @throws MosError of the check that failed
 */
export function acceptManifest(trust: DeviceTrust, root: TrustRoot, claim: Claim): AcceptedManifest {
  const accepted = verifyManifest(claim.manifest, claim.signatures, root, claim.time);
  const manifest = parseInstallManifest(claim.manifest);
  const bound = ofProduct(accepted, (signerName) =>
    checkProduct({
      manifest: manifest.product,
      signerName,
      device: trust.product,
      running: claim.runningProduct,
    }),
  );
  if (bound.length < root.threshold) {
    throw new MosError(
      "signatures-too-few",
      `cannot accept the manifest: ${bound.length} of the ${root.threshold} keys that it needs are of its product`,
      { about: manifest.product },
    );
  }
  checkEpoch(manifest.release ?? unnumbered, trust.floor);
  const [first, ...others] = bound;
  return {
    manifest,
    signers: [first.signer, ...others.map(({ signer }) => signer)],
    pairs: bound.map(({ pair }) => pair),
  };
}

/** The manifests of a generation, each accepted, and what they are together. */
export interface AcceptedGeneration {
  /** The one that was applied last. */
  readonly newest: AcceptedManifest;
  /** Below it, the oldest first. */
  readonly bases: readonly AcceptedManifest[];
  readonly manifest: InstallManifest;
}

/**
 * Verifies a generation that lies on the disk: every manifest of it by the trust of today. Dates do not count.
 * @throws MosError of the check that failed; `partial-refused` when they do not go together
 */
export function acceptGeneration(
  trust: DeviceTrust,
  root: TrustRoot,
  generation: GenerationContent,
): AcceptedGeneration {
  const accept = (parts: SignedParts) => acceptManifest(trust, root, { ...parts, time: { kind: "ignore" } });
  const newest = accept(generation);
  const bases = generation.bases.map(accept);
  const [first, ...others] = [...bases.map(({ manifest }) => manifest), newest.manifest];
  return { newest, bases, manifest: mergeManifests([first ?? newest.manifest, ...others]) };
}

/** Signers of another product do not count; if all are, the first says why. */
function ofProduct(
  accepted: readonly [AcceptedPair, ...AcceptedPair[]],
  check: (signerName: string | undefined) => void,
): readonly [AcceptedPair, ...AcceptedPair[]] {
  const bound: AcceptedPair[] = [];
  let problem: unknown;
  for (const one of accepted) {
    try {
      check(one.signer.commonName);
      bound.push(one);
    } catch (error) {
      problem ??= error;
    }
  }
  const [first, ...others] = bound;
  if (first === undefined) throw problem;
  return [first, ...others];
}

/** The root under which a generation on disk has to hold. @throws as {@link currentRoot}, and `state-invalid` */
export async function rootOfGeneration(
  { places }: AgentContext,
  trust: DeviceTrust,
  generation: Pick<Generation, "record">,
): Promise<CurrentRoot> {
  return currentRoot(trust, await readTrustRecords(places, generation.record.trustRecords));
}

/** The product under which a generation was signed. */
export function runningProductOf(signers: readonly ManifestSigner[]): string | undefined {
  return productOfSigner(signers[0]?.commonName);
}
