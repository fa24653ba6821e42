// What a start costs in trust: verification of a manifest with each kind of anchor, and all work with the TPM of one
// boot, on a provisioned swtpm.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { deviceContext } from "../src/agent/context.ts";
import { acceptManifest, loadTrust } from "../src/agent/trust.ts";
import { parseGuid } from "../src/efi/guid.ts";
import { encodeSignatureLists, listOf, signatureTypes } from "../src/efi/signature-list.ts";
import { type VariableId, variables } from "../src/efi/variable.ts";
import { encodeInstallManifest } from "../src/manifest/install-json.ts";
import { initrdSetup } from "../src/provision/initrd-setup.ts";
import { provision } from "../src/provision/provision.ts";
import { addSigndata } from "../src/provision/signdata-write.ts";
import { extendPcr, readPcrs } from "../src/tpm/pcr.ts";
import { Tpm } from "../src/tpm/tpm.ts";
import { readCertificates } from "../src/trust/certificate.ts";
import { openProject } from "../src/trust/keyset.ts";
import { type AnchorSource, builtInPolicy } from "../src/trust/policy.ts";
import { signBytes } from "../src/trust/signature.ts";
import { addDevice } from "../src/trust/sudi.ts";
import { startSwtpm } from "../test/integration/swtpm-fixture.ts";
import { countTpmCommands } from "../test/integration/tpm-counting.ts";
import { type Figure, figure } from "./measure.ts";
import { ms, type Subject } from "./subject.ts";

const rounds = 31;

async function time(work: () => Promise<unknown>, count = rounds): Promise<Figure> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    await work();
    times.push(performance.now() - start);
  }
  return figure(times);
}

/** A directory as efivarfs shows it under Secure Boot, with these certificates in db. */
async function writeEfivars(directory: string, certificates: readonly Uint8Array[]): Promise<void> {
  await mkdir(directory, { recursive: true });
  const write = async ({ name, guid, attributes }: VariableId, data: Uint8Array): Promise<void> => {
    const head = Buffer.alloc(4);
    head.writeUInt32LE(attributes);
    await writeFile(join(directory, `${name}-${guid}`), Buffer.concat([head, data]));
  };
  const owner = parseGuid("8be4df61-93ca-11d2-aa0d-00e098032b8c");
  await write(variables.secureBoot, Buffer.from([1]));
  await write(variables.setupMode, Buffer.from([0]));
  const lists = certificates.map((data) => listOf(signatureTypes.x509, { owner, data }));
  await write(variables.db, encodeSignatureLists(lists));
}

/** @param work has a keyset `bench` with a project `zot` in `keys` */
export async function trustOfABoot(work: string): Promise<Subject> {
  const root = join(work, "keys");
  const key = (...parts: readonly string[]): string => join(root, "bench", ...parts);
  const read = (...parts: readonly string[]): Promise<string> => readFile(key(...parts), "utf8");
  const caPem = await read("manifest-ca/cert.pem");
  const [ca] = readCertificates(Buffer.from(caPem));
  const project = await openProject(root, "bench:zot");
  const manifest = encodeInstallManifest({
    ...{ version: 1, product: project.uuid, storage: [], targets: [], update_type: "complete" },
    release: { serial: 1, epoch: 0 },
  });
  const certificates = Buffer.from(project.certificatePem + caPem);
  const signatures = [{ signature: signBytes(manifest, project.key), certificates }];

  const directory = join(work, "trust");
  await mkdir(directory);
  const swtpm = await startSwtpm(directory);
  try {
    const device = await addDevice(root, "bench", "zot");
    await provision({
      ...{ tpm: swtpm.address, anchor: Buffer.from(caPem), wipe: false, onStep: () => undefined },
      certificate: await readFile(join(device.path, "cert.pem"), "utf8"),
      privateKey: await readFile(join(device.path, "privkey.pem"), "utf8"),
      adminKey: await read("tpmpol-admin/cert.pem"),
      systemKey: await read("tpmpol-luks/cert.pem"),
    });
    const base = deviceContext();
    const initrd = join(directory, "initrd");
    await mkdir(initrd);
    await writeFile(join(initrd, "manifestCA.pem"), caPem);
    const efivars = join(directory, "efivars");
    await writeEfivars(efivars, [ca.der]);
    const contextWith = (anchors: readonly AnchorSource[], tpm: "required" | "optional") => ({
      ...base,
      places: { state: join(directory, "state"), run: join(directory, "run") },
      trust: {
        ...{ ...base.trust, policies: [], initrd, efivars, deviceCertificates: [] },
        tpm: tpm === "required" ? swtpm.address : ({ kind: "device", path: "/nonexistent" } as const),
        builtIn: { ...builtInPolicy, anchors: [...anchors], tpm },
      },
    });
    const rows: string[][] = [];
    const measure = async (name: string, anchors: readonly AnchorSource[], tpm: "required" | "optional") => {
      const context = contextWith(anchors, tpm);
      const verify = async (): Promise<void> => {
        const trust = await loadTrust(context);
        acceptManifest(trust, trust.initialRoot, { manifest, signatures, time: { kind: "ignore" } });
      };
      await verify();
      rows.push([name, ms(await time(verify)), String(await countTpmCommands(verify))]);
    };
    await measure("verification, anchor file", [`file:${key("manifest-ca/cert.pem")}`], "optional");
    await measure("verification, anchor initrd", ["initrd"], "optional");
    await measure("verification, anchor efi-db", ["efi-db"], "optional");
    await measure(
      "verification, anchor tpm-nv (certificate), epoch in the TPM",
      ["tpm-nv:0x01500063"],
      "required",
    );

    const secure = join(directory, "secure");
    const setup = async (): Promise<void> => {
      await initrdSetup({ tpm: swtpm.address, signdata: key("pcr7data"), directory: secure });
    };
    const pcr7 = async (): Promise<Uint8Array> => {
      await using tpm = await Tpm.open(swtpm.address);
      return (await readPcrs(tpm, "sha256", [7])).get(7) ?? new Uint8Array();
    };
    const start = async (): Promise<void> => {
      await swtpm.restart();
      await using tpm = await Tpm.open(swtpm.address);
      await extendPcr(tpm, 7, "sha256", Buffer.alloc(32, "production"));
    };
    await start();
    const production = await pcr7();
    const other = (fill: number): Uint8Array => Buffer.alloc(32, fill);
    await addSigndata({
      ...{ root, keyset: "bench", comment: "", date: "20260101" },
      pcr7: { production, limited: other(1), tpm: other(2) },
    });
    const times: number[] = [];
    for (let i = 0; i < 7; i++) {
      await start();
      const began = performance.now();
      await setup();
      times.push(performance.now() - began);
    }
    await start();
    rows.push([
      "trust initrd-setup: certificate, key, passphrase, PCR 7 closed",
      ms(figure(times)),
      String(await countTpmCommands(setup)),
    ]);
    return {
      title: `Trust of one boot, in a running process, with swtpm`,
      headings: ["work", "ms", "TPM commands"],
      rows,
    };
  } finally {
    await swtpm.stop();
  }
}
