// Attacks A02, A03, A04, A05, A07, A14, A15 and A16 on a device: what it refuses changes nothing, and what it accepted it
// does not forget.
import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadActive } from "../../src/agent/active.ts";
import { boot } from "../../src/agent/boot.ts";
import type { AgentContext } from "../../src/agent/context.ts";
import type { InstallManifest, Release } from "../../src/manifest/schema.ts";
import { keyIdOf, readCertificate } from "../../src/trust/certificate.ts";
import { temporaryDirectory } from "../support.ts";
import { type Issued, make } from "../unit/trust/authority.ts";
import { snapshot, updateEnding } from "./device-fixture.ts";
import {
  expectRefused,
  goodParts,
  type Image,
  installManifest,
  makeSigners,
  newDevice,
  packImage,
  published,
  type Signers,
  signWith,
} from "./refusals-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let signers: Signers;
let image: Image;
let work: string;
beforeAll(async () => {
  signers = await makeSigners();
  work = await makeWorkDirectory();
  image = await packImage(work, 1, "release");
});
afterAll(() => rm(work, { recursive: true, force: true }));

const release = (serial: number, epoch = 0, change: Partial<Release> = {}): Partial<InstallManifest> => ({
  release: { serial, epoch, ...change },
});

/** Publishes a manifest that these have signed. */
async function publish(
  change: Partial<InstallManifest>,
  by: readonly Issued[] = [signers.project],
): Promise<string> {
  const installJson = installManifest(image, change);
  const { reference } = await published({
    ...goodParts(signers, image, installJson),
    certificates: by.map(({ pem }) => Buffer.from(pem)),
    signatures: by.map((one) => signWith(one, installJson)),
  });
  return reference;
}

/** Applies it. Units cannot be started here, where no systemd runs: that is as far as it comes. */
async function apply(device: AgentContext, reference: string, allowOlder = false): Promise<void> {
  const error = await updateEnding(device, reference, undefined, { allowOlder, retry: false });
  expect(error.code, error.message).toBe("updated");
}

const runs = async (device: AgentContext) => (await loadActive(device)).loaded?.manifest.release;
const policy = (device: AgentContext, change: object) =>
  writeFile(
    device.trust.policies[0] ?? "",
    JSON.stringify({ version: 1, anchors: device.trust.builtIn.anchors, ...change }),
  );

describe("an older release (A02)", () => {
  test("is refused, and applied when that is what is wanted", async () => {
    const device = await newDevice(signers);
    await apply(device, await publish(release(7)));
    const older = await publish(release(6));
    const error = await expectRefused(device, older, "release-older");
    expect(error.message).toContain("serial 7 of epoch 0 runs here");
    await expectRefused(device, await publish({}), "release-older");
    await apply(device, older, true);
    expect(await runs(device)).toMatchObject({ serial: 6 });
  });

  test("of a lower epoch is refused for ever, also when it is wanted, and after the generations were deleted", async () => {
    const device = await newDevice(signers);
    await apply(device, await publish(release(7, 3)));
    const older = await publish(release(8, 2));
    const refused = async () => {
      const before = await snapshot(device);
      const error = await updateEnding(device, older, undefined, { allowOlder: true, retry: false });
      expect(error.code).toBe("release-epoch-low");
      expect(await snapshot(device)).toEqual(before);
    };
    await refused();
    await rm(join(device.places.state, "generations"), { recursive: true });
    await rm(join(device.places.state, "current"));
    await refused();
  });

  test("that was put back on the disk does not start", async () => {
    const device = await newDevice(signers);
    await apply(device, await publish(release(1, 1)));
    const copy = join(await temporaryDirectory(), "generations");
    await cp(join(device.places.state, "generations"), copy, { recursive: true });
    await apply(device, await publish(release(1, 2)));
    await rm(join(device.places.state, "generations/2"), { recursive: true });
    await cp(join(copy, "1"), join(device.places.state, "generations/2"), { recursive: true });
    expect((await boot(device)).outcome).toMatchObject({
      kind: "refused",
      error: { code: "release-epoch-low" },
    });
  });
});

test("a part of an older release is refused, so that no service goes back below what was signed after it (A03)", async () => {
  const device = await newDevice(signers);
  const older = await packImage(work, 1, "older part");
  const part = async (serial: number, of: Image): Promise<string> => {
    const installJson = installManifest(of, { ...release(serial), update_type: "partial" });
    return (await published(goodParts(signers, of, installJson))).reference;
  };
  await apply(device, await publish(release(1)));
  const replayed = await part(2, older);
  await apply(device, replayed);
  await apply(device, await part(3, image));
  await expectRefused(device, replayed, "release-older");
  expect(await runs(device)).toMatchObject({ serial: 3 });
});

describe("an epoch", () => {
  test("far ahead is refused, so that a stolen key cannot use them all up (A05)", async () => {
    const device = await newDevice(signers);
    await expectRefused(device, await publish(release(1, 1_000_000)), "release-epoch-jump");
  });

  test("that a power cut kept from being remembered is remembered at the next boot", async () => {
    const device = await newDevice(signers);
    await apply(device, await publish(release(1, 4)));
    await rm(join(device.places.state, "epoch.json"));
    await boot(device);
    await expectRefused(device, await publish(release(9, 3)), "release-epoch-low");
  });

  test("that cannot be read stops everything", async () => {
    const device = await newDevice(signers);
    await apply(device, await publish(release(1, 4)));
    await writeFile(join(device.places.state, "epoch.json"), "{}");
    await expectRefused(device, await publish(release(2, 4)), "state-invalid");
    expect((await boot(device)).outcome).toMatchObject({ kind: "refused", error: { code: "state-invalid" } });
  });
});

describe("a release that has expired (A04)", () => {
  test("is not applied, but what is installed starts whatever the date", async () => {
    const device = await newDevice(signers);
    await expectRefused(
      device,
      await publish(release(1, 0, { expires: "2020-01-01T00:00:00Z" })),
      "release-expired",
    );
    const soon = new Date(Date.now() + 1500).toISOString();
    await apply(device, await publish(release(1, 0, { expires: soon })));
    await expect.poll(() => Date.now() > Date.parse(soon), { timeout: 5000 }).toBe(true);
    expect(await runs(device)).toMatchObject({ serial: 1 });
  });
});

describe("a manifest of another product (A07)", () => {
  const a = "11111111-2222-4333-8444-555555555555";
  const b = "99999999-2222-4333-8444-555555555555";
  const project = (product: string) =>
    make({ issuer: signers.ca, subject: `CN=manifest PRODUCT:${product}` });

  test("is refused on a device that knows its own, and so is one that names none", async () => {
    const device = await newDevice(signers);
    await policy(device, { product: a });
    const [own, other] = await Promise.all([project(a), project(b)]);
    await expectRefused(device, await publish({ product: b }, [other]), "product-mismatch");
    await expectRefused(device, await publish({ product: a }, [other]), "product-mismatch");
    await expectRefused(device, await publish({ product: b }, [own]), "product-mismatch");
    await expectRefused(device, await publish({ product: a }), "product-mismatch");
    await apply(device, await publish({ product: a }, [own]));
  });

  test("does not start on a device that has become another", async () => {
    const device = await newDevice(signers);
    await apply(device, await publish({ product: a }, [await project(a)]));
    await policy(device, { product: b });
    expect((await boot(device)).outcome).toMatchObject({
      kind: "refused",
      error: { code: "product-mismatch" },
    });
  });

  test("is refused on a device without an identity once another product runs there", async () => {
    const device = await newDevice(signers);
    await apply(device, await publish({ product: a }, [await project(a)]));
    await expectRefused(device, await publish({ product: b }, [await project(b)]), "product-mismatch");
  });

  test("does not count among the signers", async () => {
    const device = await newDevice(signers);
    await policy(device, { product: a, signatures: 2 });
    const [own, second, other] = await Promise.all([project(a), project(a), project(b)]);
    await expectRefused(device, await publish({ product: a }, [own, other]), "signatures-too-few");
    await apply(device, await publish({ product: a }, [other, own, second]));
  });
});

test("fewer signers than the policy asks for are refused, and at the next boot too (A14)", async () => {
  const device = await newDevice(signers);
  const second = await make({ issuer: signers.ca });
  await apply(device, await publish({}, [signers.project, second]));
  await policy(device, { signatures: 2 });
  await expectRefused(device, await publish(release(1)), "signatures-too-few");
  expect((await loadActive(device)).loaded?.signers).toHaveLength(2);
  await rm(join(device.places.state, "generations/1/cert-2.pem"));
  await rm(join(device.places.state, "generations/1/install.json.signed-2"));
  expect((await boot(device)).outcome).toMatchObject({
    kind: "refused",
    error: { code: "signatures-too-few" },
  });
});

describe("a handover to a new CA (A15)", () => {
  const handover = async (epoch = 1) => {
    const next = await makeNext();
    const anchors = [Buffer.from(next.ca.der).toString("base64")];
    return { next, change: release(1, epoch, { anchors }) };
  };
  const makeNext = async (): Promise<Signers> => {
    const ca = await make({ ca: true, subject: "CN=Next CA" });
    return { ca, project: await make({ issuer: ca, subject: "CN=Next" }) };
  };

  test("leads to the new one, and the old one is not accepted any more", async () => {
    const device = await newDevice(signers);
    await apply(device, await publish(release(5)));
    const { next, change } = await handover();
    await apply(device, await publish(change, [signers.project, next.project]));
    await expectRefused(device, await publish(release(2, 1)), "chain-untrusted");
    await apply(device, await publish(release(2, 1), [next.project]));
    const loaded = (await loadActive(device)).loaded;
    expect(loaded?.signers[0].anchor).toMatchObject({ source: "release 1", subject: "CN=Next CA" });
  });

  test("that one of both has not signed is refused", async () => {
    const device = await newDevice(signers);
    const { next, change } = await handover();
    await expectRefused(device, await publish(change), "handover-refused");
    await expectRefused(device, await publish(change, [next.project]), "chain-untrusted");
  });

  test("within an epoch, where going back would undo it, is refused", async () => {
    const device = await newDevice(signers);
    await apply(device, await publish(release(5, 1)));
    const next = await makeNext();
    const anchors = [Buffer.from(next.ca.der).toString("base64")];
    const reference = await publish(release(6, 1, { anchors }), [signers.project, next.project]);
    const error = await expectRefused(device, reference, "handover-refused");
    expect(error.message).toContain("within epoch 1");
  });

  test("takes effect with its generation, and not before", async () => {
    const device = await newDevice(signers);
    await apply(device, await publish(release(5)));
    const { next, change } = await handover();
    const reference = await publish(change, [signers.project, next.project]);
    // What a power cut leaves behind that comes before the generation: a record that nothing points to.
    await mkdir(join(device.places.state, "trust/1"), { recursive: true });
    expect(await runs(device)).toMatchObject({ serial: 5 });
    await apply(device, await publish(release(6)));
    await apply(device, reference);
    await expectRefused(device, await publish(release(2, 1)), "chain-untrusted");
  });

  test("is not undone by deleting its record", async () => {
    const device = await newDevice(signers);
    const { next, change } = await handover();
    await apply(device, await publish(change, [signers.project, next.project]));
    await rm(join(device.places.state, "trust"), { recursive: true });
    expect((await boot(device)).outcome).toMatchObject({ kind: "refused", error: { code: "state-invalid" } });
  });
});

describe("revocation (A16)", () => {
  const keyId = ({ der }: Issued) => keyIdOf(readCertificate(der));

  test("by a release ends a key's time on this device, and by the policy too", async () => {
    const device = await newDevice(signers);
    const second = await make({ issuer: signers.ca, subject: "CN=Second" });
    await apply(device, await publish(release(1, 1, { revoked: [keyId(signers.project)] }), [second]));
    await expectRefused(device, await publish(release(2, 1)), "certificate-revoked");
    await policy(device, { revoked: [keyId(second)] });
    expect((await boot(device)).outcome).toMatchObject({
      kind: "refused",
      error: { code: "certificate-revoked" },
    });
  });

  test("of the only signer, which would brick the device, is refused", async () => {
    const device = await newDevice(signers);
    const change = release(1, 1, { revoked: [keyId(signers.project)] });
    await expectRefused(device, await publish(change), "handover-refused");
  });

  test("in epoch 0, where it could be undone, is refused", async () => {
    const device = await newDevice(signers);
    const change = release(1, 0, { revoked: ["0".repeat(64)] });
    await expectRefused(device, await publish(change), "manifest-refused");
  });
});
