// Attestation between a device with a real (software) TPM and a verifier that is another process: attack A29.
import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createApiServer } from "../../src/agent/server.ts";
import { type AttestationDocument, decodeAttestation } from "../../src/attest/document.ts";
import { freshNonce } from "../../src/attest/nonce.ts";
import { qualifyingData } from "../../src/attest/statements.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { run } from "../../src/system/process.ts";
import { nameOfPublic } from "../../src/tpm/names.ts";
import { decodeSizedPublic } from "../../src/tpm/public.ts";
import { keyObjectOf } from "../../src/tpm/public-key.ts";
import { writeLog } from "../unit/efi/event-log-writer.ts";
import {
  apply,
  ask,
  bootEvents,
  type Device,
  deviceOf,
  elsewhere,
  initrd,
  makeDevice,
  makePublisher,
  type Publisher,
  powerOn,
  reachPhases,
  start,
} from "./attest-fixture.ts";
import { startSwtpm } from "./swtpm-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let publisher: Publisher;
/** Provisioned, and started with the production UKI; every test begins with a start of its own. */
let device: Device;
let applied: Uint8Array;
beforeAll(async () => {
  work = await makeWorkDirectory();
  publisher = await makePublisher(join(work, "keys"));
  device = await makeDevice(publisher, join(work, "1"), "machine-1");
  applied = await apply(publisher, device, { release: { serial: 7, epoch: 2 } });
});
afterAll(async () => {
  await device.swtpm.stop();
  await rm(work, { recursive: true, force: true });
});

let verifier: string;
beforeEach(async () => {
  verifier = await makeWorkDirectory();
});
afterEach(() => rm(verifier, { recursive: true, force: true }));

const newNonce = (): string => Buffer.from(freshNonce()).toString("hex");
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** What the verifier's command line answers to a document, or to the text of one. */
async function verify(document: AttestationDocument | string, nonce: string, ...flags: readonly string[]) {
  const text = typeof document === "string" ? document : JSON.stringify(document);
  await writeFile(join(verifier, "device.json"), text);
  const ca = ["--ca", publisher.deviceCa];
  const command = ["trust", "attest", "verify", "device.json", "--nonce", nonce, ...ca, ...flags, "--json"];
  const { exit, stdout } = await elsewhere(verifier, ...command);
  const answer = JSON.parse(stdout);
  return { exit, answer, refused: answer.error?.about };
}

describe("a device that was started as it should be", () => {
  beforeEach(() => start(publisher, device));

  test("proves to another machine what it is, what it runs and how it was started", async () => {
    const nonce = newNonce();
    const { exit, answer } = await verify(
      await ask(device, nonce),
      nonce,
      ...["--product", publisher.product, "--machine", "machine-1", "--min-epoch", "2"],
      ...["--manifest-ca", publisher.manifestCa, "--manifest-digest", digestOf(applied)],
    );
    expect(exit).toBe(0);
    expect(answer).toMatchObject({
      ...{ verified: true, product: publisher.product, machine: "machine-1" },
      ...{ secureBoot: "enabled", closed: true, vouched: ["db vouched: CN=UKI Production"] },
      applied: {
        ...{ generation: 1, manifestDigest: digestOf(applied), serial: 7, epoch: 2 },
        signers: [{ subject: `CN=manifest PRODUCT:${publisher.product}` }],
      },
      logs: { firmware: "read", systemd: "read" },
    });
    const explained = answer.pcrs.map((one: { pcr: number; explainedBy: string }) => [
      one.pcr,
      one.explainedBy,
    ]);
    expect(explained).toEqual([
      ...[0, 1, 2, 3, 4, 5, 6, 7].map((pcr) => [pcr, "firmware"]),
      [9, "nothing"],
      [11, "systemd"],
      ...[12, 13, 14].map((pcr) => [pcr, "nothing"]),
    ]);
  });

  test("is shown to a person", async () => {
    const nonce = newNonce();
    await writeFile(join(verifier, "device.json"), JSON.stringify(await ask(device, nonce)));
    const command = [
      "trust",
      "attest",
      "verify",
      "device.json",
      "--nonce",
      nonce,
      "--ca",
      publisher.deviceCa,
    ];
    const { exit, stdout } = await elsewhere(verifier, ...command);
    expect(exit).toBe(0);
    expect(stdout).toMatch(/^Verified\./);
    expect(stdout).toMatch(/^machine +machine-1$/m);
    expect(stdout).toMatch(/^signed by +not checked/m);
    expect(stdout).toMatch(/^Secure Boot +on$/m);
    expect(stdout).toMatch(/^7 +[0-9a-f]{64} +the firmware's log, and the closing$/m);
  });

  test("has a quote that tpm2_checkquote accepts", async () => {
    const nonce = newNonce();
    const document = await ask(device, nonce);
    const attestation = decodeAttestation(Buffer.from(JSON.stringify(document)));
    const area = decodeSizedPublic(attestation.attestationKey);
    if (area.type !== "ecc") throw new Error("not an ECC key");
    const asked = qualifyingData(attestation.nonce, attestation.generation, nameOfPublic(area));
    const file = (name: string): string => join(verifier, name);
    await writeFile(file("ak.pem"), keyObjectOf(area).export({ type: "spki", format: "pem" }));
    await writeFile(file("quote.msg"), attestation.quote.statement);
    await writeFile(file("quote.sig"), attestation.quote.signature);
    await writeFile(file("pcrs.bin"), Buffer.concat([...attestation.pcrs.values()]));
    await run("tpm2_checkquote", ["-u", "ak.pem", "-m", "quote.msg", "-s", "quote.sig", "-q", hex(asked)], {
      cwd: verifier,
    });
  });

  test("answers each nonce anew: an answer to another one is refused (A29)", async () => {
    const [first, second] = [newNonce(), newNonce()];
    const document = await ask(device, first);
    expect((await verify(document, first)).exit).toBe(0);
    expect(await verify(document, second)).toMatchObject({ exit: 4, refused: "nonce" });
    expect(await verify({ ...document, nonce: second }, second)).toMatchObject({
      exit: 4,
      refused: "binding",
    });
    const later = await ask(device, second);
    expect((await verify(later, second)).exit).toBe(0);
    expect(await verify({ ...later, quote: document.quote }, second)).toMatchObject({
      exit: 4,
      refused: "quote",
    });
  });

  test("is refused when its PCRs, log or manifest are not those that it quoted (A29)", async () => {
    const nonce = newNonce();
    const document = await ask(device, nonce);
    const pcrs = { ...document.pcrs, 0: "0".repeat(64) };
    expect((await verify({ ...document, pcrs }, nonce)).refused).toBe("quote");
    const other = writeLog(bootEvents(publisher, { secureBoot: 0 }));
    const firmwareLog = Buffer.from(other).toString("base64");
    expect((await verify({ ...document, firmwareLog }, nonce)).refused).toBe("event-log");
    const { generation } = document;
    if (generation === undefined) throw new Error("nothing was applied");
    const manifest = Buffer.from("{}").toString("base64");
    expect((await verify({ ...document, generation: { ...generation, manifest } }, nonce)).refused).toBe(
      "binding",
    );
    expect((await verify(JSON.stringify(document).slice(1), nonce)).refused).toBe("document");
  });

  test("is not what others expect", async () => {
    const nonce = newNonce();
    const document = await ask(device, nonce);
    const manifestCa = ["--manifest-ca", publisher.manifestCa];
    for (const [check, ...flags] of [
      ["machine", "--machine", "machine-2"],
      ["product", "--product", "other"],
      ["pcr", "--pcr", `11=${"0".repeat(64)}`],
      ["manifest-digest", "--manifest-digest", digestOf("other")],
      ["manifest-signature", "--manifest-ca", publisher.deviceCa],
      ["epoch", "--min-epoch", "3", ...manifestCa],
      ["device-certificate", "--ca", publisher.manifestCa],
    ] as const) {
      // The CA of the devices is named once more, and the last one counts; stricli takes one only.
      const given =
        flags[0] === "--ca"
          ? await verifyUnder(document, nonce, flags[1])
          : await verify(document, nonce, ...flags);
      expect([check, given.exit, given.refused]).toEqual([check, 4, check]);
    }
  });

  test("is asked over the control socket by mosctl, and writes a document for everybody", async () => {
    const nonce = newNonce();
    const runDirectory = join(verifier, "run");
    await mkdir(join(runDirectory, "mos"), { recursive: true });
    const server = createApiServer(device.context, "control", () => undefined);
    await new Promise<void>((resolve) => server.listen(join(runDirectory, "mos/mosd.sock"), resolve));
    try {
      const main = join(import.meta.dirname, "../../src/main.ts");
      const script = `mount --bind "$RUN" /run && "$NODE" "$MAIN" mosctl attest --nonce "$NONCE" --output device.json && stat -c %a device.json`;
      const env = { RUN: runDirectory, NODE: process.execPath, MAIN: main, NONCE: nonce };
      const args = ["--mount", "--propagation", "private", "bash", "-c", script];
      const { stdout } = await run("unshare", args, { env, cwd: verifier });
      expect(stdout).toContain("Written to device.json");
      expect(stdout.trimEnd()).toMatch(/\n644$/);
    } finally {
      server.closeAllConnections();
      server.close();
    }
    const command = [
      "trust",
      "attest",
      "verify",
      "device.json",
      "--nonce",
      nonce,
      "--ca",
      publisher.deviceCa,
    ];
    expect((await elsewhere(verifier, ...command)).exit).toBe(0);
  });

  test("holds nothing secret in its document", async () => {
    const text = JSON.stringify(await ask(device, newNonce()));
    const { stdout } = await run("cat", [join(device.directory, "secure/server.key")]);
    for (const line of stdout.split("\n").slice(1, -2)) expect(text).not.toContain(line);
  });
});

async function verifyUnder(document: AttestationDocument, nonce: string, ca: string) {
  await writeFile(join(verifier, "device.json"), JSON.stringify(document));
  const command = ["trust", "attest", "verify", "device.json", "--nonce", nonce, "--ca", ca, "--json"];
  const { exit, stdout } = await elsewhere(verifier, ...command);
  return { exit, refused: JSON.parse(stdout).error?.about };
}

describe("at each state of a start (A29)", () => {
  const identityMissing = expect.objectContaining({ code: "identity-missing" });

  test("a device answers once its initrd has taken its identity out of the TPM, and not before", async () => {
    await powerOn(device, bootEvents(publisher));
    await expect(ask(device, newNonce())).rejects.toEqual(identityMissing);
    await initrd(publisher, device);
    const nonce = newNonce();
    expect((await verify(await ask(device, nonce), nonce)).answer).toMatchObject({
      ...{ verified: true, logs: { systemd: "absent" } },
    });
    await reachPhases(device, "ready");
    const later = newNonce();
    expect((await verify(await ask(device, later), later)).exit).toBe(0);
  });

  test("a restart changes the TPM's counters, and makes no answer from before good for a new nonce", async () => {
    await start(publisher, device);
    const [first, second] = [newNonce(), newNonce()];
    const before = await ask(device, first);
    await start(publisher, device);
    const after = await ask(device, second);
    expect(await verify(before, second)).toMatchObject({ exit: 4, refused: "nonce" });
    // The answer to the first stays what it was, with no device and no TPM at hand.
    const [one, other] = [await verify(before, first), await verify(after, second)];
    expect(other.answer.tpm.resetCount).toBe(one.answer.tpm.resetCount + 1);
    expect(other.answer.attestationKey).toBe(one.answer.attestationKey);
  });

  test("PCR 7 that was left open is refused", async () => {
    await powerOn(device, bootEvents(publisher));
    await initrd(publisher, device);
    const secure = join(device.directory, "secure");
    await cp(secure, `${secure}.kept`, { recursive: true });
    await powerOn(device, bootEvents(publisher));
    await cp(`${secure}.kept`, secure, { recursive: true });
    const nonce = newNonce();
    const document = await ask(device, nonce);
    expect(await verify(document, nonce)).toMatchObject({ exit: 4, refused: "closed" });
    expect((await verify(document, nonce, "--no-require-closed")).answer.closed).toBe(false);
  });

  test("another kernel is seen in its PCR, a start without Secure Boot gives no identity at all", async () => {
    await powerOn(device, bootEvents(publisher, { kernel: "another" }));
    await initrd(publisher, device);
    const nonce = newNonce();
    const good = await verify(await ask(device, nonce), nonce);
    const pcr11 = good.answer.pcrs.find(({ pcr }: { pcr: number }) => pcr === 11).value;
    await start(publisher, device);
    const again = newNonce();
    const expected = ["--pcr", `11=${pcr11}`];
    expect(await verify(await ask(device, again), again, ...expected)).toMatchObject({ refused: "pcr" });

    await powerOn(device, bootEvents(publisher, { secureBoot: 0 }));
    await expect(initrd(publisher, device)).rejects.toEqual(
      expect.objectContaining({ code: "signdata-missing" }),
    );
    await expect(ask(device, again)).rejects.toEqual(identityMissing);
  });

  test("without Secure Boot, a device whose key was stolen is refused", async () => {
    await start(publisher, device);
    const secure = join(device.directory, "secure");
    await cp(secure, `${secure}.stolen`, { recursive: true });
    await powerOn(device, bootEvents(publisher, { secureBoot: 0 }));
    await cp(`${secure}.stolen`, secure, { recursive: true });
    const nonce = newNonce();
    const document = await ask(device, nonce);
    expect(await verify(document, nonce)).toMatchObject({ exit: 4, refused: "secure-boot" });
  });

  test("a manifest that was altered on the disk is not attested", async () => {
    await start(publisher, device);
    const changed = deviceOf("machine-1", join(work, "altered"), device.swtpm);
    await cp(device.directory, changed.directory, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => !/\.sock|tpm-state/.test(path),
    });
    const path = join(changed.directory, "state/generations/1/install.json");
    await writeFile(
      path,
      Buffer.from(applied.map((byte, at) => (at === applied.length - 1 ? byte ^ 1 : byte))),
    );
    await expect(ask(changed, newNonce())).rejects.toEqual(
      expect.objectContaining({ code: "signature-invalid" }),
    );
  });
});

describe("another TPM (A29)", () => {
  const disk = {
    recursive: true,
    verbatimSymlinks: true,
    filter: (path: string) => !/\.sock|tpm-state|secure/.test(path),
  };

  test("of a clone of the disk gives no identity", async () => {
    await start(publisher, device);
    const directory = join(work, "clone");
    await cp(device.directory, directory, disk);
    const swtpm = await startSwtpm(directory);
    try {
      const clone = deviceOf("machine-1", directory, swtpm);
      await powerOn(clone, bootEvents(publisher));
      await initrd(publisher, clone);
      await expect(ask(clone, newNonce())).rejects.toEqual(
        expect.objectContaining({ code: "identity-missing" }),
      );
      // With the stolen identity there is still no attestation key.
      await cp(join(device.directory, "secure"), join(directory, "secure"), { recursive: true });
      await expect(ask(clone, newNonce())).rejects.toEqual(
        expect.objectContaining({ code: "tpm-unprovisioned" }),
      );
    } finally {
      await swtpm.stop();
    }
  });

  test("of another device of the project makes it that device", async () => {
    const other = await makeDevice(publisher, join(work, "2"), "machine-2");
    try {
      await cp(join(device.directory, "state"), join(other.directory, "state"), disk);
      await start(publisher, other);
      const nonce = newNonce();
      const document = await ask(other, nonce);
      expect((await verify(document, nonce)).answer.machine).toBe("machine-2");
      expect(await verify(document, nonce, "--machine", "machine-1")).toMatchObject({
        exit: 4,
        refused: "machine",
      });

      // Certificate and voucher of the first device do not go with the second's TPM.
      await start(publisher, device);
      const own = await ask(device, nonce);
      expect((await verify({ ...document, device: own.device }, nonce)).refused).toBe("binding");
      expect((await verify({ ...own, quote: document.quote }, nonce)).refused).toBe("quote");

      // Somebody who stole the first device's key can speak for it with another TPM: its key tells.
      const { attestationKey } = (await verify(own, nonce)).answer;
      const secure = join(other.directory, "secure");
      await rm(secure, { recursive: true });
      await cp(join(device.directory, "secure"), secure, { recursive: true });
      const forged = await ask(other, nonce);
      expect((await verify(forged, nonce)).answer.machine).toBe("machine-1");
      const pinned = await verify(forged, nonce, "--attestation-key", attestationKey);
      expect(pinned).toMatchObject({ exit: 4, refused: "attestation-key" });
    } finally {
      await other.swtpm.stop();
    }
  });
});

test("trust attest verify says what is wrong with a command line or a file", async () => {
  const nonce = newNonce();
  const call = async (...flags: readonly string[]) => {
    const command = [
      "trust",
      "attest",
      "verify",
      "missing.json",
      "--nonce",
      nonce,
      "--ca",
      publisher.deviceCa,
    ];
    const { exit, stdout } = await elsewhere(verifier, ...command, ...flags, "--json");
    return [exit, JSON.parse(stdout).error.code];
  };
  expect(await call()).toEqual([3, "file-unreadable"]);
  expect(await call("--min-epoch", "1")).toEqual([2, "usage"]);
  expect(await call("--pcr", "7=00")).toEqual([2, "usage"]);
  const { stdout } = await elsewhere(verifier, "trust", "attest", "nonce");
  expect(stdout).toMatch(/^[0-9a-f]{64}\n$/);
});
