// A device whose policy requires its TPM: attacks A02 (also after its state was deleted or put back), A25 and A28, and
// fault F15. The TPM is swtpm, provisioned as a device's is.
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { loadActive } from "../../src/agent/active.ts";
import { boot } from "../../src/agent/boot.ts";
import type { AgentContext } from "../../src/agent/context.ts";
import { loadTrust } from "../../src/agent/trust.ts";
import type { InstallManifest, Release } from "../../src/manifest/schema.ts";
import { provision } from "../../src/provision/provision.ts";
import { keyIdOf, readCertificate } from "../../src/trust/certificate.ts";
import { addKeyset, addProject } from "../../src/trust/keyset.ts";
import { addDevice, type DeviceIdentity } from "../../src/trust/sudi.ts";
import { type Issued, make } from "../unit/trust/authority.ts";
import { updateEnding } from "./device-fixture.ts";
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
import { type Swtpm, startSwtpm } from "./swtpm-fixture.ts";
import { countTpmCommands } from "./tpm-counting.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let signers: Signers;
let image: Image;
let identity: DeviceIdentity;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  image = await packImage(work, 1, "tpm");
  await addKeyset({ root: work, name: "demo", organizations: [], keyType: "p256" });
  await addProject(work, "demo", "zot");
  identity = await addDevice(work, "demo", "zot", "machine-1");
});
afterAll(() => rm(work, { recursive: true, force: true }));

let directory: string;
let swtpm: Swtpm;
let device: AgentContext;
beforeEach(async () => {
  directory = await makeWorkDirectory();
  swtpm = await startSwtpm(directory);
  await provisionIt(Buffer.from(signers.ca.pem));
  const fresh = await newDevice(signers);
  device = { ...fresh, trust: { ...fresh.trust, tpm: swtpm.address } };
  await policy(["tpm-nv:0x01500063"]);
});
afterEach(async () => {
  await swtpm.stop();
  await rm(directory, { recursive: true, force: true });
});

async function provisionIt(anchor: Uint8Array): Promise<void> {
  const read = (...parts: readonly string[]): Promise<string> => readFile(join(...parts), "utf8");
  await provision({
    ...{ tpm: swtpm.address, anchor, wipe: false, onStep: () => undefined },
    certificate: await read(identity.path, "cert.pem"),
    privateKey: await read(identity.path, "privkey.pem"),
    adminKey: await read(work, "demo/tpmpol-admin/cert.pem"),
    systemKey: await read(work, "demo/tpmpol-luks/cert.pem"),
  });
}

/** A copy of a disk: its links say what they said. */
const whole = { recursive: true, verbatimSymlinks: true };

const policy = (anchors: readonly string[]) =>
  writeFile(device.trust.policies[0] ?? "", JSON.stringify({ version: 1, anchors, tpm: "required" }));

const release = (serial: number, epoch: number, change: Partial<Release> = {}): Partial<InstallManifest> => ({
  release: { serial, epoch, ...change },
});

async function publish(
  change: Partial<InstallManifest>,
  by: readonly Issued[] = [signers.project],
  withCa = false,
) {
  const installJson = installManifest(image, change);
  const { reference } = await published({
    ...goodParts(signers, image, installJson),
    certificates: by.map(({ pem }) => Buffer.from(withCa ? pem + signers.ca.pem : pem)),
    signatures: by.map((one) => signWith(one, installJson)),
  });
  return reference;
}

async function apply(reference: string): Promise<void> {
  const error = await updateEnding(device, reference);
  expect(error.code, error.message).toBe("updated");
}

const refusedAtBoot = async (code: string): Promise<void> => {
  expect((await boot(device)).outcome).toMatchObject({ kind: "refused", error: { code } });
};

/** A power cycle with another TPM: new, from the shop. */
async function replaceTpm(): Promise<void> {
  await swtpm.stop();
  await rm(swtpm.state, { recursive: true });
  await rm(directory, { recursive: true });
  directory = await makeWorkDirectory();
  swtpm = await startSwtpm(directory);
  device = { ...device, trust: { ...device.trust, tpm: swtpm.address } };
}

describe("a device whose policy requires its TPM", () => {
  test("takes the CA and the lowest epoch from it, with no more than 12 commands at a boot", async () => {
    await apply(await publish(release(1, 2)));
    const loaded = (await loadActive(device)).loaded;
    expect(loaded?.signers[0].anchor.source).toBe("tpm-nv:0x01500063");
    expect(loaded?.trust.floor).toEqual({ epoch: 2, source: "the TPM" });
    expect(await countTpmCommands(() => boot(device))).toBeLessThanOrEqual(12);
  });

  test("refuses a lower epoch for ever, whatever is done to its disk (A02)", async () => {
    await apply(await publish(release(1, 1)));
    const copy = join(directory, "copy");
    await cp(device.places.state, copy, whole);
    await apply(await publish(release(1, 2)));
    const older = await publish(release(9, 1));
    await expectRefused(device, older, "release-epoch-low");
    // The whole disk is put back.
    await rm(device.places.state, { recursive: true });
    await cp(copy, device.places.state, whole);
    await refusedAtBoot("release-epoch-low");
    await expectRefused(device, older, "release-epoch-low");
    // Or wiped.
    await rm(device.places.state, { recursive: true });
    await expectRefused(device, older, "release-epoch-low");
    await apply(await publish(release(2, 2)));
  });

  test("refuses a disk that was put back from before a handover, and one without its record (A15)", async () => {
    await apply(await publish(release(1, 0)));
    const copy = join(directory, "copy");
    await cp(device.places.state, copy, whole);
    const ca = await make({ ca: true, subject: "CN=Next CA" });
    const next = await make({ issuer: ca, subject: "CN=Next" });
    const anchors = [Buffer.from(ca.der).toString("base64")];
    const handover = await publish(release(2, 1, { anchors }), [signers.project, next]);
    await apply(handover);
    await expectRefused(device, await publish(release(3, 1)), "chain-untrusted");
    await rm(device.places.state, { recursive: true });
    await cp(copy, device.places.state, whole);
    await refusedAtBoot("trust-rolled-back");
    // A release of the old CA, with an epoch as high as one likes: its key may have been stolen.
    await expectRefused(device, await publish(release(4, 5)), "trust-rolled-back");
    // A wiped device gets there again by the release that handed over, and by no other.
    await rm(device.places.state, { recursive: true });
    await expectRefused(device, await publish(release(4, 5)), "trust-rolled-back");
    await apply(handover);
    await expectRefused(device, await publish(release(4, 5)), "chain-untrusted");
    await apply(await publish(release(4, 5), [next]));
  });

  test("is told of a revocation that a power cut kept from its TPM, at the next boot (A16)", async () => {
    const second = await make({ issuer: signers.ca, subject: "CN=Second" });
    const revoked = [keyIdOf(readCertificate(signers.project.der))];
    await apply(await publish(release(1, 1)));
    const before = join(directory, "tpm-before");
    await swtpm.stop();
    await cp(swtpm.state, before, { recursive: true });
    await swtpm.restart();
    await apply(await publish(release(2, 2, { revoked }), [second]));
    // The power goes after the generation was committed and before the TPM learnt of it.
    await swtpm.stop();
    await rm(swtpm.state, { recursive: true });
    await cp(before, swtpm.state, { recursive: true });
    await swtpm.restart();
    await boot(device);
    const { remembered, floor } = await loadTrust(device);
    expect(floor.epoch).toBe(2);
    expect(Buffer.from(remembered ?? [])).not.toEqual(Buffer.alloc(32));
    await expectRefused(device, await publish(release(3, 2)), "certificate-revoked");
  });

  test("starts nothing with another TPM, or with none (A28, F15)", async () => {
    await apply(await publish(release(1, 1)));
    await replaceTpm();
    await policy(["tpm-nv:0x01500063", ...device.trust.builtIn.anchors]);
    await refusedAtBoot("tpm-unprovisioned");
    await swtpm.stop();
    await refusedAtBoot("tpm-missing");
    device = {
      ...device,
      trust: { ...device.trust, tpm: { kind: "device", path: join(directory, "none") } },
    };
    await refusedAtBoot("tpm-missing");
    await expectRefused(device, await publish(release(2, 1)), "tpm-missing");
  });

  test("starts with another TPM where the policy can do without, and says what it uses instead", async () => {
    await apply(await publish(release(1, 1)));
    await replaceTpm();
    const anchors = device.trust.builtIn.anchors;
    await writeFile(device.trust.policies[0] ?? "", JSON.stringify({ version: 1, anchors }));
    const loaded = (await loadActive(device)).loaded;
    expect(loaded?.trust.memory.kind).toBe("file");
    expect(loaded?.trust.floor).toMatchObject({
      epoch: 1,
      source: expect.stringContaining("tpm-unprovisioned"),
    });
  });
});

describe("an anchor in the TPM", () => {
  const nv = (index: string, ...attributes: readonly string[]) =>
    swtpm.tool("tpm2_nvdefine", index, "-C", "o", "-s", "32", "-a", attributes.join("|"));

  test("that is the hash of the CA's key vouches when the CA's certificate comes along", async () => {
    await replaceTpm();
    await provisionIt(Buffer.from(keyIdOf(readCertificate(signers.ca.der)), "hex"));
    await expectRefused(device, await publish(release(1, 0)), "chain-untrusted");
    await apply(await publish(release(1, 0), [signers.project], true));
  });

  test("that anybody could have written is refused", async () => {
    await replaceTpm();
    await nv("0x1500070", "ownerwrite", "ownerread", "authread", "authwrite");
    await writeFile(join(directory, "pin"), Buffer.alloc(32));
    await swtpm.tool("tpm2_nvwrite", "0x1500070", "-i", join(directory, "pin"));
    await policy(["tpm-nv:0x01500070"]);
    await expectRefused(device, await publish(release(1, 0)), "anchor-invalid");
  });

  test("that is not there is missed by name", async () => {
    await policy(["tpm-nv:0x01500071"]);
    await expectRefused(device, await publish(release(1, 0)), "anchor-missing");
  });
});
