// Which certificate and which signature count, when there are several of each and most are somebody else's.
import { KeyObject, sign } from "node:crypto";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { allPairs, fetchCandidates, type SigningCandidates } from "../../../src/agent/signed-manifest.ts";
import { MosError } from "../../../src/errors/mos-error.ts";
import { type Artifact, artifactTypes, buildArtifact } from "../../../src/oci/artifacts.ts";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { type Descriptor, mediaTypes } from "../../../src/oci/model.ts";
import type { Repository } from "../../../src/oci/source.ts";
import { type AcceptedPair, verifyManifest } from "../../../src/trust/manifest-signature.ts";
import { at, type Issued, make } from "../trust/authority.ts";
import { rootOf } from "../trust/roots.ts";

const manifest = Buffer.from('{"version":1}');
const signedBy = ({ keys }: Issued, bytes: Uint8Array = manifest): Uint8Array =>
  sign("sha256", bytes, KeyObject.from(keys.privateKey));

let ca: Issued;
let project: Issued;
let expired: Issued;
let stranger: Issued;
beforeAll(async () => {
  ca = await make({ ca: true });
  [project, expired, stranger] = await Promise.all([
    make({ issuer: ca, subject: "CN=Project" }),
    make({ issuer: ca, subject: "CN=Expired", notAfter: "2021-01-01" }),
    make({ subject: "CN=Stranger" }),
  ]);
});

const pem = (...certificates: readonly Issued[]): Uint8Array =>
  Buffer.from(certificates.map((c) => c.pem).join(""));
const candidates = (
  certificates: readonly Uint8Array[],
  signatures: readonly Uint8Array[],
): SigningCandidates => ({
  ...{ artifact: digestOf("artifact"), manifest, certificates, signatures },
});

function choose(of: SigningCandidates): readonly AcceptedPair[] | MosError {
  try {
    return verifyManifest(of.manifest, allPairs(of), rootOf([ca]), at("2026-01-01"));
  } catch (error) {
    if (error instanceof MosError) return error;
    throw error;
  }
}

describe("of several certificates and signatures", () => {
  it("the pair that verifies is taken, wherever it stands", () => {
    const bogusCertificates = [Buffer.from("garbage"), pem(stranger), pem(expired), pem(ca)];
    const bogusSignatures = [
      Buffer.from("garbage"),
      signedBy(stranger),
      signedBy(project, Buffer.from("other")),
    ];
    fc.assert(
      fc.property(
        fc.shuffledSubarray([...bogusCertificates, pem(project)]),
        fc.shuffledSubarray([...bogusSignatures, signedBy(project)]),
        (certificates, signatures) => {
          const own = pem(project);
          const complete = candidates(
            certificates.some((c) => Buffer.compare(c, own) === 0) ? certificates : [...certificates, own],
            [...signatures, signedBy(project)],
          );
          const chosen = choose(complete);
          expect(chosen).toMatchObject([{ signer: { subject: "CN=Project" } }]);
        },
      ),
      { numRuns: 30 },
    );
  });

  it("what is kept is exactly what verified", () => {
    const good = signedBy(project);
    const chosen = choose(candidates([pem(stranger), pem(project)], [Buffer.from("garbage"), good]));
    expect(chosen).toMatchObject([{ pair: { certificates: pem(project), signature: good } }]);
  });

  it("none is taken when each is of another pair", () => {
    const error = choose(candidates([pem(project)], [signedBy(stranger)]));
    expect(error).toMatchObject({ code: "signature-invalid" });
  });

  it("the refusal that came furthest is told, with all others", () => {
    const error = choose(
      candidates([Buffer.from("garbage"), pem(stranger), pem(expired), pem(project)], [Buffer.from("x")]),
    );
    expect(error).toMatchObject({ code: "signature-invalid" });
    expect(error instanceof MosError ? error.problems.map((line) => line.split(":")[0]) : []).toEqual([
      ...["signature-invalid", "chain-untrusted", "certificate-expired", "certificate-malformed"],
    ]);
  });

  it("a certificate that has expired is told as that", () => {
    expect(choose(candidates([pem(expired)], [signedBy(expired)]))).toMatchObject({
      code: "certificate-expired",
    });
  });

  it("nothing is signed where there is nothing", () => {
    expect(choose(candidates([], []))).toMatchObject({ code: "signature-missing" });
    expect(choose(candidates([pem(project)], []))).toMatchObject({ code: "signature-missing" });
  });
});

/** A repository of these artifacts, which lists as referrers what it is told to. */
class Shelf implements Repository {
  readonly name = "shelf";
  asked = 0;
  private readonly artifacts: readonly Artifact[];
  private readonly listed: readonly Descriptor[];

  constructor(artifacts: readonly Artifact[], listed: readonly Descriptor[]) {
    this.artifacts = artifacts;
    this.listed = listed;
  }

  async manifest(reference: string) {
    this.asked++;
    const found = this.artifacts.find(({ digest }) => digest === reference);
    if (found === undefined) throw new MosError("not-found", `there is no ${reference}`);
    const { digest, manifest: bytes } = found;
    return { digest, bytes, size: bytes.length, mediaType: mediaTypes.manifest };
  }

  async referrers(): Promise<readonly Descriptor[]> {
    return this.listed;
  }

  async *blob(): AsyncGenerator<Uint8Array> {}

  async blobRange(): Promise<never> {
    throw new MosError("not-found", "no blobs here");
  }

  async smallBlob({ digest }: Descriptor): Promise<Uint8Array> {
    const found = this.artifacts.find(({ layer }) => layer.digest === digest);
    if (found === undefined) throw new MosError("not-found", `there is no ${digest}`);
    return found.content;
  }
}

describe("what is attached to a manifest", () => {
  const created = "2026-01-01T00:00:00Z";
  const install = buildArtifact("install", manifest, created);
  const attach = (kind: "certificate" | "signature", text: string) =>
    buildArtifact(kind, Buffer.from(text), created, install);
  const listed = ({ digest, manifest: bytes }: Artifact, artifactType?: string): Descriptor => ({
    ...{ mediaType: mediaTypes.manifest, digest, size: bytes.length },
    ...(artifactType === undefined ? {} : { artifactType }),
  });
  const certificate = attach("certificate", "certificate");
  const signature = attach("signature", "signature");

  it.each([
    ["says its type in the list", true],
    ["says its type in itself only", false],
  ])("is found when it %s", async (_, inList) => {
    const entries = [
      listed(certificate, inList ? artifactTypes.certificate : undefined),
      listed(signature, inList ? artifactTypes.signature : undefined),
      listed(attach("signature", "gone")),
    ];
    const found = await fetchCandidates(
      new Shelf([install, certificate, signature], entries),
      install.digest,
    );
    expect(found).toEqual({
      ...{ artifact: install.digest, manifest },
      ...{ certificates: [certificate.content], signatures: [signature.content] },
    });
  });

  it("is not looked for without end", async () => {
    const many = Array.from({ length: 1000 }, (_, i) => attach("signature", `${i}`));
    const entries = [certificate, ...many].map((one) => listed(one));
    const shelf = new Shelf([install, certificate, ...many], entries);
    const { signatures } = await fetchCandidates(shelf, install.digest);
    expect(signatures.length).toBeLessThanOrEqual(32);
    expect(shelf.asked).toBeLessThan(100);
  });

  it("tells why it cannot be used, when there is nothing else", async () => {
    const gone = digestOf("gone") satisfies Digest;
    const entries = [listed(certificate), { mediaType: mediaTypes.manifest, digest: gone, size: 7 }];
    await expect(
      fetchCandidates(new Shelf([install, certificate], entries), install.digest),
    ).rejects.toMatchObject({
      code: "not-found",
      message: expect.stringContaining(gone),
    });
    await expect(
      fetchCandidates(new Shelf([install, certificate], [listed(certificate)]), install.digest),
    ).rejects.toMatchObject({ code: "signature-missing" });
  });
});
