// Provisioning a real (software) TPM, and everything that must be refused afterwards: attacks A02, A25 and A28, fault
// F15. PCR 7 is extended to values of our own, which stand for what firmware would have measured.
import { generateKeyPairSync } from "node:crypto";
import { cp, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { initrdSetup, preinstall } from "../../src/provision/initrd-setup.ts";
import { checkProvisionable, provision } from "../../src/provision/provision.ts";
import { SecretSession } from "../../src/provision/read-secrets.ts";
import { addSigndata } from "../../src/provision/signdata-write.ts";
import { readLockout } from "../../src/tpm/capability.ts";
import { passwordIndex, systemPassphraseIndex } from "../../src/tpm/nv-layout.ts";
import { extendPcr, readPcrs } from "../../src/tpm/pcr.ts";
import { Tpm } from "../../src/tpm/tpm.ts";
import { fileMemory } from "../../src/trust/file-memory.ts";
import { foldRecord } from "../../src/trust/handover.ts";
import { addKeyset, addProject } from "../../src/trust/keyset.ts";
import { addDevice, type DeviceIdentity } from "../../src/trust/sudi.ts";
import { tpmMemory } from "../../src/trust/tpm-memory.ts";
import { type Swtpm, startSwtpm } from "./swtpm-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let device: DeviceIdentity;
beforeAll(async () => {
  work = await makeWorkDirectory();
  await addKeyset({ root: work, name: "demo", organizations: ["Example"], keyType: "p256" });
  await addProject(work, "demo", "zot");
  device = await addDevice(work, "demo", "zot", "machine-1");
});
afterAll(() => rm(work, { recursive: true, force: true }));

let directory: string;
let swtpm: Swtpm;
beforeEach(async () => {
  directory = await makeWorkDirectory();
  swtpm = await startSwtpm(directory);
});
afterEach(async () => {
  await swtpm.stop();
  await rm(directory, { recursive: true, force: true });
});

const read = (...parts: readonly string[]): Promise<string> => readFile(join(work, "demo", ...parts), "utf8");
const code = (name: string) => expect.objectContaining({ code: name });
const answered = (...names: readonly string[]) =>
  expect.objectContaining({ message: expect.stringMatching(new RegExp(names.join("|"))) });

async function provisionIt(
  change: { readonly wipe?: boolean; readonly privateKey?: string } = {},
): Promise<void> {
  await provision({
    tpm: swtpm.address,
    certificate: await readFile(join(device.path, "cert.pem"), "utf8"),
    privateKey: change.privateKey ?? (await readFile(join(device.path, "privkey.pem"), "utf8")),
    adminKey: await read("tpmpol-admin/cert.pem"),
    systemKey: await read("tpmpol-luks/cert.pem"),
    anchor: Buffer.from(await read("manifest-ca/cert.pem")),
    wipe: change.wipe ?? false,
    onStep: () => undefined,
  });
}

/** Measures what stands for a UKI of this kind, as firmware would at a start. */
async function measure(what: string): Promise<void> {
  await using tpm = await Tpm.open(swtpm.address);
  await extendPcr(tpm, 7, "sha256", Buffer.alloc(32, what));
}

async function pcr7(): Promise<Uint8Array> {
  await using tpm = await Tpm.open(swtpm.address);
  const value = (await readPcrs(tpm, "sha256", [7])).get(7);
  if (value === undefined) throw new Error("no PCR 7");
  return value;
}

/** Switches the machine off and on, with a UKI that is measured as `what`. */
async function start(what: string): Promise<void> {
  await swtpm.restart();
  await measure(what);
}

/** The values of PCR 7 after each UKI, and the keyset's approvals for them. */
async function approve(): Promise<string> {
  const values = new Map<string, Uint8Array>();
  for (const what of ["production", "limited", "tpm"]) {
    await start(what);
    values.set(what, await pcr7());
  }
  const value = (what: string) => values.get(what) ?? new Uint8Array();
  await addSigndata({
    root: work,
    keyset: "demo",
    pcr7: { production: value("production"), limited: value("limited"), tpm: value("tpm") },
    comment: "test",
    date: "20260101",
  });
  return join(work, "demo/pcr7data");
}

const setup = (signdata: string) =>
  initrdSetup({ tpm: swtpm.address, signdata, directory: join(directory, "secure") });

describe("whoever is about to provision", () => {
  test("is told beforehand whether the TPM could be cleared, and nothing is changed", async () => {
    await checkProvisionable(swtpm.address, false);
    await provisionIt();
    await expect(checkProvisionable(swtpm.address, false)).rejects.toThrow(code("tpm-provisioned"));
    // Its passwords are set, and only the firmware clears it then.
    await expect(checkProvisionable(swtpm.address, true)).rejects.toThrow(/passwords that are not known/);
  });
});

describe("a provisioned device", () => {
  test("gets its secrets in the initrd of the production UKI, once", async () => {
    const signdata = await approve();
    await provisionIt();
    await start("production");
    expect(await setup(signdata)).toBe("ready");
    const secure = join(directory, "secure");
    expect(await readFile(join(secure, "server.crt"), "utf8")).toBe(
      await readFile(join(device.path, "cert.pem"), "utf8"),
    );
    expect(await readFile(join(secure, "server.key"), "utf8")).toBe(
      await readFile(join(device.path, "privkey.pem"), "utf8"),
    );
    expect((await stat(join(secure, "server.key"))).mode & 0o777).toBe(0o600);
    expect((await stat(secure)).mode & 0o777).toBe(0o700);
    // What was readable before the handover is not readable after it (A28).
    await rm(secure, { recursive: true });
    await expect(setup(signdata)).rejects.toEqual(code("signdata-missing"));
    await expect(stat(join(secure, "server.key"))).rejects.toThrow("ENOENT");
  });

  test("has them behind a policy that the TPM itself keeps, whatever the approvals on disk say", async () => {
    const signdata = await approve();
    await provisionIt();
    await start("production");
    await using tpm = await Tpm.open(swtpm.address);
    await using session = await SecretSession.open(tpm, signdata, "production");
    expect(await session.read(systemPassphraseIndex)).toHaveLength(40);
    // The administrator's password is for another policy.
    await expect(session.read(passwordIndex)).rejects.toEqual(code("tpm-refused"));
    await extendPcr(tpm, 7, "sha256", Buffer.alloc(32));
    await expect(session.read(systemPassphraseIndex)).rejects.toEqual(
      answered("PCR_CHANGED", "POLICY_FAIL", "VALUE"),
    );
  });

  test.each(["limited", "tpm", "something else"])(
    "does not give them to what is measured as %s",
    async (what) => {
      const signdata = await approve();
      await provisionIt();
      await start(what);
      const before = await pcr7();
      await expect(setup(signdata)).rejects.toEqual(code("signdata-missing"));
      expect(Buffer.compare(await pcr7(), before)).not.toBe(0);
    },
  );

  test("does not give them to an approval that another key made", async () => {
    await approve();
    await provisionIt();
    const forged = join(directory, "forged");
    await cp(join(work, "demo/pcr7data"), forged, { recursive: true });
    const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const pem = publicKey.export({ type: "spki", format: "pem" }).toString();
    await writeFile(join(forged, "policy-2/pubkeys/luks-demo.pem"), pem);
    await start("production");
    await expect(setup(forged)).rejects.toEqual(code("tpm-refused"));
    // And it is closed all the same.
    await expect(setup(join(work, "demo/pcr7data"))).rejects.toEqual(code("signdata-missing"));
  });

  test("closes PCR 7 even when there are no approvals to be read", async () => {
    await provisionIt();
    await start("production");
    const before = await pcr7();
    await expect(setup(join(directory, "nowhere"))).rejects.toEqual(code("signdata-missing"));
    expect(Buffer.compare(await pcr7(), before)).not.toBe(0);
  });

  test("gets a new passphrase by preinstall, and a new installation reads that", async () => {
    const signdata = await approve();
    await provisionIt();
    const passphrase = async (): Promise<string> => {
      await start("production");
      await using tpm = await Tpm.open(swtpm.address);
      await using session = await SecretSession.open(tpm, signdata, "production");
      return Buffer.from(await session.read(systemPassphraseIndex)).toString();
    };
    const first = await passphrase();
    expect(first).toMatch(/^trust-[0-9a-f]{34}$/);
    await start("production");
    await preinstall({ tpm: swtpm.address, signdata });
    const second = await passphrase();
    expect(second).toMatch(/^trust-[0-9a-f]{34}$/);
    expect(second).not.toBe(first);
  });

  test("is locked against guessing, and has passwords (F15)", async () => {
    await provisionIt();
    await using tpm = await Tpm.open(swtpm.address);
    expect(await readLockout(tpm)).toMatchObject({
      ...{ maxFailures: 32, intervalSeconds: 600, recoverySeconds: 3600 },
      ...{ ownerAuthSet: true, endorsementAuthSet: true, lockoutAuthSet: true, inLockout: false },
    });
  });

  test("is not provisioned again by mistake, nor cleared by somebody without its password", async () => {
    await provisionIt();
    await expect(provisionIt()).rejects.toEqual(code("tpm-provisioned"));
  });

  test("is what tpm2-tools read, and reads what they wrote", async () => {
    await provisionIt();
    const { stdout } = await swtpm.tool("tpm2_nvreadpublic", "0x1500020");
    // The Name that the published policies are made for (tpm-vectors.json).
    expect(stdout).toContain("000b9a2a448f2272a89720c1f37eef785dea317a40ef975bb78de155234f60c66a1a");
    expect((await swtpm.tool("tpm2_nvread", "0x1500002")).stdout).toBe("00000003");
    expect((await swtpm.tool("tpm2_nvread", "0x1500063")).stdout).toBe(await read("manifest-ca/cert.pem"));
    await expect(swtpm.tool("tpm2_nvread", "0x1500040")).rejects.toThrow();
    await expect(swtpm.tool("tpm2_nvwrite", "0x1500063", "-i", "/dev/null")).rejects.toThrow();
  });
});

describe("a key that does not belong to the certificate", () => {
  test("is refused before anything is cleared", async () => {
    const other = await addDevice(work, "demo", "zot");
    const privateKey = await readFile(join(other.path, "privkey.pem"), "utf8");
    await expect(provisionIt({ privateKey })).rejects.toEqual(code("key-invalid"));
    await using tpm = await Tpm.open(swtpm.address);
    expect((await readLockout(tpm)).lockoutAuthSet).toBe(false);
  });
});

test("a TPM that was never provisioned has no secrets, and is closed all the same", async () => {
  const before = await pcr7();
  expect(await setup(join(directory, "nowhere"))).toBe("unprovisioned");
  expect(Buffer.compare(await pcr7(), before)).not.toBe(0);
});

test("without a TPM nothing is set up", async () => {
  const tpm = { kind: "device", path: join(directory, "none") } as const;
  const attempt = initrdSetup({ tpm, signdata: directory, directory });
  await expect(attempt).rejects.toEqual(code("tpm-missing"));
});

describe("the TPM's memory (A02)", () => {
  const memory = () => tpmMemory(swtpm.address, fileMemory(join(directory, "epoch.json")));

  test("begins at epoch 0 with no records, counts up, and is not set back by a power cycle", async () => {
    await provisionIt();
    expect(await memory().read()).toEqual({ epoch: 0, record: foldRecord([]) });
    await memory().raiseEpoch(3);
    await memory().raiseEpoch(2);
    const [one, two] = [Buffer.from("one"), Buffer.from("two")];
    await memory().extendRecord(one);
    await memory().extendRecord(two);
    await swtpm.restart();
    const { epoch, record } = await memory().read();
    expect(epoch).toBe(3);
    expect(Buffer.from(record ?? [])).toEqual(Buffer.from(foldRecord([one, two])));
  });

  test("is read with six commands", async () => {
    await provisionIt();
    await memory().extendRecord(Buffer.from("one"));
    const counts: number[] = [];
    const open = Tpm.open.bind(Tpm);
    Tpm.open = async (...args) => {
      const tpm = await open(...args);
      const close = tpm.close.bind(tpm);
      tpm.close = async () => {
        counts.push(tpm.commandCount);
        await close();
      };
      return tpm;
    };
    try {
      await memory().read();
    } finally {
      Tpm.open = open;
    }
    expect(counts).toEqual([6]);
  });

  test("is not that of a TPM that was not provisioned", async () => {
    await expect(memory().read()).rejects.toEqual(code("tpm-unprovisioned"));
  });

  test("cannot be begun again by whoever does not own the TPM", async () => {
    await provisionIt();
    await memory().raiseEpoch(2);
    for (const index of ["0x1500060", "0x1500061", "0x1500062"]) {
      await expect(swtpm.tool("tpm2_nvundefine", index)).rejects.toThrow();
    }
    expect((await memory().read()).epoch).toBe(2);
  });

  test("is not what somebody else has put at its indices", async () => {
    // A TPM of the attacker's: a base that is not locked can be moved at will.
    await mkdir(join(directory, "x"), { recursive: true });
    await swtpm.tool(
      "tpm2_nvdefine",
      "0x1500060",
      "-C",
      "o",
      "-a",
      "ownerwrite|ownerread|authread|authwrite|nt=counter",
    );
    await swtpm.tool("tpm2_nvincrement", "0x1500060");
    await swtpm.tool(
      "tpm2_nvdefine",
      "0x1500061",
      "-C",
      "o",
      "-s",
      "8",
      "-a",
      "ownerwrite|ownerread|authread|authwrite",
    );
    await writeFile(join(directory, "base"), Buffer.alloc(8));
    await swtpm.tool("tpm2_nvwrite", "0x1500061", "-i", join(directory, "base"));
    await expect(memory().read()).rejects.toEqual(code("tpm-unprovisioned"));
  });
});
