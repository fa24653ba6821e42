// Who may sign, and what else is attached (attacks A01, A06, A24): a signature counts when its certificate leads to
// the device's CA by every rule, and nothing that others attach beside it does any harm.
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listGenerations } from "../../src/generation/generations.ts";
import { make } from "../unit/trust/authority.ts";
import { updateEnding } from "./device-fixture.ts";
import {
  expectPartsRefused,
  goodParts,
  type Image,
  installArtifact,
  installManifest,
  makeSigners,
  newDevice,
  type Parts,
  packImage,
  published,
  referrerOf,
  type Signers,
  signWith,
} from "./refusals-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let signers: Signers;
let image: Image;
let good: Parts;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  image = await packImage(work, 64, "service");
  good = goodParts(signers, image);
});
afterAll(() => rm(work, { recursive: true, force: true }));

describe("a signature that does not count", () => {
  /** Certificates and signature of another signer than the project. */
  const by = (
    signer: Parameters<typeof signWith>[0],
    ...others: readonly { readonly pem: string }[]
  ): Parts => ({
    ...good,
    certificates: [Buffer.from([signer, ...others].map(({ pem }) => pem).join(""))],
    signatures: [signWith(signer, good.installJson)],
  });

  test("by another key than the certificate's", async () => {
    const other = await make({ issuer: signers.ca });
    await expectPartsRefused(
      signers,
      image,
      { ...good, signatures: [signWith(other, good.installJson)] },
      "signature-invalid",
    );
  });

  test("over another manifest of the same project", async () => {
    const before = installManifest(image, { product: "before" });
    await expectPartsRefused(
      signers,
      image,
      { ...good, signatures: [signWith(signers.project, before)] },
      "signature-invalid",
    );
  });

  test("by an expired certificate", async () => {
    const expired = await make({ issuer: signers.ca, notAfter: "2021-01-01" });
    await expectPartsRefused(signers, image, by(expired), "certificate-expired");
  });

  test("by a certificate of the future", async () => {
    const future = await make({ issuer: signers.ca, notBefore: "2039-01-01" });
    await expectPartsRefused(signers, image, by(future), "certificate-not-yet-valid");
  });

  test("through an intermediate that is no CA", async () => {
    const middle = await make({ issuer: signers.ca, subject: "CN=Middle" });
    const leaf = await make({ issuer: middle });
    await expectPartsRefused(signers, image, by(leaf, middle), "chain-not-ca");
  });

  test("under another CA of the same name", async () => {
    const ca = await make({ ca: true });
    const leaf = await make({ issuer: ca });
    await expectPartsRefused(signers, image, by(leaf), "chain-untrusted");
    await expectPartsRefused(signers, image, by(leaf, ca), "chain-untrusted");
  });

  test("by the CA itself", async () => {
    await expectPartsRefused(signers, image, by(signers.ca), "chain-constraint");
  });

  test("by a certificate that signs itself", async () => {
    await expectPartsRefused(signers, image, by(await make({})), "chain-untrusted");
  });
});

describe("what is attached", () => {
  test("no signature", async () => {
    await expectPartsRefused(signers, image, { ...good, signatures: [] }, "signature-missing");
  });

  test("no certificate", async () => {
    await expectPartsRefused(signers, image, { ...good, certificates: [] }, "certificate-missing");
  });

  test("a signature that belongs to another manifest", async () => {
    const other = installArtifact({ installJson: installManifest(image, { product: "other" }) });
    const stranger = referrerOf("signature", good.signatures[0] ?? Buffer.of(), other);
    await expectPartsRefused(
      signers,
      image,
      { ...good, signatures: [], strangers: [stranger] },
      "signature-missing",
    );
  });

  test("garbage beside the good ones does no harm", async () => {
    const install = installArtifact(good);
    const strangers = [
      ...Array.from({ length: 12 }, (_, i) => referrerOf("signature", Buffer.from(`garbage ${i}`), install)),
      referrerOf("signature", signWith(await make({}), good.installJson), install),
      referrerOf("certificate", Buffer.from("garbage"), install),
      referrerOf("certificate", Buffer.from((await make({})).pem), install),
      referrerOf("certificate", Buffer.alloc(70_000, "x"), install),
    ];
    const device = await newDevice(signers);
    const { reference } = await published({ ...good, strangers });
    expect((await updateEnding(device, reference)).code).toBe("updated");
    expect(await listGenerations(device.places)).toEqual([1]);
  });

  test("garbage alone is refused, and the error tells of each attempt", async () => {
    const other = await make({ issuer: signers.ca });
    const error = await expectPartsRefused(
      signers,
      image,
      {
        ...good,
        certificates: [Buffer.from("garbage"), ...good.certificates],
        signatures: [signWith(other, good.installJson), Buffer.from("garbage")],
      },
      "signature-invalid",
    );
    expect(error.problems.map((line) => line.split(":")[0])).toEqual([
      ...["signature-invalid", "signature-invalid"],
      ...["certificate-malformed", "certificate-malformed"],
    ]);
  });
});
