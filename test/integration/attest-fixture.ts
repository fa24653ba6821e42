// Devices that can be asked to attest: a keyset, a (software) TPM that was provisioned for a machine of it, and starts
// whose measurements are in a log and in the TPM's PCRs alike.
import { createHash } from "node:crypto";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { attest } from "../../src/agent/attest.ts";
import type { AgentContext } from "../../src/agent/context.ts";
import type { AttestationDocument } from "../../src/attest/document.ts";
import { freshNonce, parseNonce } from "../../src/attest/nonce.ts";
import { foldPcr } from "../../src/efi/bank.ts";
import { guids, parseGuid } from "../../src/efi/guid.ts";
import { encodeVariableData } from "../../src/efi/measured.ts";
import { addGeneration, makeCurrent } from "../../src/generation/generations.ts";
import { encodeInstallManifest } from "../../src/manifest/install-json.ts";
import type { InstallManifest } from "../../src/manifest/schema.ts";
import { initrdSetup } from "../../src/provision/initrd-setup.ts";
import { provision } from "../../src/provision/provision.ts";
import { addSigndata } from "../../src/provision/signdata-write.ts";
import { type RunResult, run } from "../../src/system/process.ts";
import { extendPcr } from "../../src/tpm/pcr.ts";
import { Tpm } from "../../src/tpm/tpm.ts";
import { readCertificates } from "../../src/trust/certificate.ts";
import { addKeyset, addProject } from "../../src/trust/keyset.ts";
import { readSigningKey, signBytes } from "../../src/trust/signature.ts";
import { addDevice } from "../../src/trust/sudi.ts";
import { sampleManifest } from "../samples.ts";
import { systemdLog } from "../unit/attest/good.ts";
import { imageLoadEvent, type WrittenEvent, writeLog } from "../unit/efi/event-log-writer.ts";
import { contextIn } from "./device-fixture.ts";
import { type Swtpm, startSwtpm } from "./swtpm-fixture.ts";

const main = join(import.meta.dirname, "../../src/main.ts");
const sha256 = (bytes: Uint8Array): Uint8Array => createHash("sha256").update(bytes).digest();

export interface Publisher {
  /** The directory of the keyset `demo`, with the project `zot`. */
  readonly root: string;
  /** Of the project. */
  readonly product: string;
  /** PEM files. */
  readonly deviceCa: string;
  readonly manifestCa: string;
  /** A certificate of the firmware's db, DER. */
  readonly firmwareKey: Uint8Array;
}

/** A keyset, and the approval of what {@link bootEvents} lead to. */
export async function makePublisher(root: string): Promise<Publisher> {
  await addKeyset({ root, name: "demo", organizations: ["Example"], keyType: "p256" });
  await addProject(root, "demo", "zot");
  const file = (...parts: readonly string[]): string => join(root, "demo", ...parts);
  const [{ der }] = readCertificates(await readFile(file("uki-production/cert.pem")));
  const publisher = {
    root,
    product: (await readFile(file("manifest/zot/uuid"), "utf8")).trim(),
    deviceCa: file("sudi-ca/cert.pem"),
    manifestCa: file("manifest-ca/cert.pem"),
    firmwareKey: der,
  };
  const other = new Uint8Array(32);
  await addSigndata({
    ...{ root, keyset: "demo", comment: "test", date: "20260101" },
    pcr7: { production: pcr7After(bootEvents(publisher)), limited: other, tpm: other },
  });
  return publisher;
}

/** The events of one start: firmware, Secure Boot, the key that vouched, the UKI, and its sections. */
export function bootEvents(
  { firmwareKey }: Pick<Publisher, "firmwareKey">,
  change: { readonly secureBoot?: number; readonly kernel?: string } = {},
): readonly WrittenEvent[] {
  const variable = (name: string, guid = guids.global, data: Uint8Array = new Uint8Array()): Uint8Array =>
    encodeVariableData({ name, guid, data });
  const owner = parseGuid("a0baa8a3-041d-48a8-bc87-c36d121b5e3d");
  const vouched = Buffer.concat([
    encodeVariableData({ name: "", guid: owner, data: new Uint8Array() }).subarray(0, 16),
    firmwareKey,
  ]);
  const driverConfig = 0x8000_0001;
  return [
    { pcr: 0, type: 0x08, data: Buffer.from("1.0\0", "utf16le") },
    {
      pcr: 7,
      type: driverConfig,
      data: variable("SecureBoot", guids.global, Uint8Array.of(change.secureBoot ?? 1)),
    },
    ...["PK", "KEK"].map((name) => ({ pcr: 7, type: driverConfig, data: variable(name) })),
    ...["db", "dbx"].map((name) => ({
      pcr: 7,
      type: driverConfig,
      data: variable(name, guids.imageSecurity),
    })),
    ...[0, 1, 2, 3, 4, 5, 6, 7].map((pcr) => ({ pcr, type: 0x04, data: new Uint8Array(4) })),
    { pcr: 7, type: 0x8000_00e0, data: variable("db", guids.imageSecurity, vouched) },
    {
      pcr: 4,
      type: 0x8000_0003,
      data: imageLoadEvent("\\EFI\\BOOT\\BOOTX64.EFI"),
      measured: Buffer.from("uki"),
    },
    { pcr: 11, type: 0x0d, data: Buffer.from(".linux\0"), measured: Buffer.from(change.kernel ?? "kernel") },
  ];
}

const digestOf = ({ data, measured }: WrittenEvent): Uint8Array => sha256(measured ?? data);

function pcr7After(events: readonly WrittenEvent[]): Uint8Array {
  return foldPcr("sha256", events.filter(({ pcr }) => pcr === 7).map(digestOf));
}

export interface Device {
  readonly machine: string;
  readonly directory: string;
  readonly swtpm: Swtpm;
  readonly context: AgentContext;
}

/** Where the initrd puts certificate and key. */
const secureOf = (directory: string): string => join(directory, "secure");

/** A device with this disk and this TPM. */
export function deviceOf(machine: string, directory: string, swtpm: Swtpm): Device {
  const { trust, ...context } = contextIn(directory);
  const deviceCertificates = [join(secureOf(directory), "server.crt")];
  return {
    ...{ machine, directory, swtpm },
    context: { ...context, trust: { ...trust, tpm: swtpm.address, deviceCertificates } },
  };
}

/** A machine of the project, with a TPM that was provisioned for it. It has not been started since. */
export async function makeDevice(publisher: Publisher, directory: string, machine: string): Promise<Device> {
  const { root } = publisher;
  const identity = await addDevice(root, "demo", "zot", machine);
  await mkdir(directory, { recursive: true });
  const swtpm = await startSwtpm(directory);
  const device = deviceOf(machine, directory, swtpm);
  await writeFile(join(directory, "ca.pem"), await readFile(publisher.manifestCa));
  await provision({
    tpm: swtpm.address,
    certificate: await readFile(join(identity.path, "cert.pem"), "utf8"),
    privateKey: await readFile(join(identity.path, "privkey.pem"), "utf8"),
    adminKey: await readFile(join(root, "demo/tpmpol-admin/cert.pem"), "utf8"),
    systemKey: await readFile(join(root, "demo/tpmpol-luks/cert.pem"), "utf8"),
    wipe: false,
    onStep: () => undefined,
  });
  return device;
}

/** The firmware's part of a start: power off and on; nothing of the start before is left in memory. */
export async function powerOn(
  { swtpm, directory, context }: Device,
  events: readonly WrittenEvent[],
): Promise<void> {
  await swtpm.restart();
  await rm(secureOf(directory), { recursive: true, force: true });
  await writeFile(context.trust.measurements.firmware, writeLog(events));
  await rm(context.trust.measurements.systemd, { force: true });
  await using tpm = await Tpm.open(swtpm.address);
  for (const event of events) await extendPcr(tpm, event.pcr, "sha256", digestOf(event));
}

/** The initrd's part: takes the device's identity out of the TPM, and closes PCR 7. */
export async function initrd({ root }: Publisher, { swtpm, directory }: Device): Promise<void> {
  const signdata = join(root, "demo/pcr7data");
  await initrdSetup({ tpm: swtpm.address, signdata, directory: secureOf(directory) });
}

/** systemd's part: what systemd-pcrphase measures, with its log. */
export async function reachPhases({ swtpm, context }: Device, ...words: readonly string[]): Promise<void> {
  await using tpm = await Tpm.open(swtpm.address);
  for (const word of words) await extendPcr(tpm, 11, "sha256", sha256(Buffer.from(word)));
  const log = systemdLog(...words.map((word) => [11, word] as const));
  await writeFile(context.trust.measurements.systemd, log);
}

/** A whole start. */
export async function start(publisher: Publisher, device: Device): Promise<void> {
  await powerOn(device, bootEvents(publisher));
  await initrd(publisher, device);
  await reachPhases(device, "enter-initrd", "leave-initrd", "ready");
}

/** Applies a manifest of no images, as an update would have. */
export async function apply(
  { root, product }: Publisher,
  { context }: Device,
  change: Partial<InstallManifest> = {},
): Promise<Uint8Array> {
  const manifest = encodeInstallManifest(sampleManifest({ product, ...change }));
  const key = readSigningKey(await readFile(join(root, "demo/manifest/zot/privkey.pem"), "utf8"), "test");
  const certificates = await readFile(join(root, "demo/manifest/zot/cert.pem"));
  const parts = { manifest, signatures: [{ signature: signBytes(manifest, key), certificates }], bases: [] };
  const record = {
    version: 1,
    reference: "oci:x:1",
    acceptedAt: "2026-01-01T00:00:00Z",
    trustRecords: 0,
  } as const;
  await makeCurrent(context.places, await addGeneration(context.places, parts, record));
  return manifest;
}

/** What the device answers. */
export async function ask({ context }: Device, nonce: string): Promise<AttestationDocument> {
  return await attest(context, parseNonce(nonce));
}

interface Answer {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs mos in a process of its own: another machine, which has neither the TPM nor the device's files. */
async function elsewhere(cwd: string, ...args: readonly string[]): Promise<Answer> {
  const accept = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  const result: RunResult = await run(process.execPath, [main, ...args], { accept, cwd, env: {} });
  return { exit: result.exitCode, stdout: result.stdout, stderr: result.stderr };
}

/** A verifier with an empty directory of its own, who trusts the CA of the publisher's devices. */
export class Verifier {
  readonly directory: string;
  readonly publisher: Publisher;

  constructor(directory: string, publisher: Publisher) {
    this.directory = directory;
    this.publisher = publisher;
  }

  /** Runs mos there. */
  async run(...args: readonly string[]): Promise<Answer> {
    return await elsewhere(this.directory, ...args);
  }

  /** What `trust attest verify --json` answers to a document, or to the text of one. */
  async verify(document: AttestationDocument | string, nonce: string, ...flags: readonly string[]) {
    return await this.verifyUnder(this.publisher.deviceCa, document, nonce, ...flags);
  }

  /** As {@link verify}, with another CA. */
  async verifyUnder(
    ca: string,
    document: AttestationDocument | string,
    nonce: string,
    ...flags: readonly string[]
  ) {
    const text = typeof document === "string" ? document : JSON.stringify(document);
    await writeFile(join(this.directory, "device.json"), text);
    const asked = ["device.json", "--nonce", nonce, "--ca", ca];
    const { exit, stdout } = await this.run("trust", "attest", "verify", ...asked, ...flags, "--json");
    const answer = JSON.parse(stdout);
    return { exit, answer, refused: answer.error?.about };
  }
}

/** A nonce that was never used before, hex. */
export function newNonce(): string {
  return Buffer.from(freshNonce()).toString("hex");
}
