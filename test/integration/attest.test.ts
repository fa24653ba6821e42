// Attestation between a device with a real (software) TPM and a verifier that is another process: attack A29.
import { createHash } from "node:crypto";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Operations } from "../../src/agent/running-operation.ts";
import { createApiServer } from "../../src/agent/server.ts";
import { decodeAttestation } from "../../src/attest/document.ts";
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
  makeDevice,
  makePublisher,
  newNonce,
  type Publisher,
  start,
  Verifier,
} from "./attest-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let publisher: Publisher;
/** Provisioned; every test begins with a start of its own. */
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

let verifier: Verifier;
beforeEach(async () => {
  verifier = new Verifier(await makeWorkDirectory(), publisher);
});
afterEach(() => rm(verifier.directory, { recursive: true, force: true }));

const sha256Hex = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("a device that was started as it should be", () => {
  beforeEach(() => start(publisher, device));

  test("proves to another machine what it is, what it runs and how it was started", async () => {
    const nonce = newNonce();
    const { exit, answer } = await verifier.verify(
      await ask(device, nonce),
      nonce,
      ...["--product", publisher.product, "--machine", "machine-1", "--min-epoch", "2"],
      ...["--manifest-ca", publisher.manifestCa, "--manifest-digest", digestOf(applied)],
    );
    expect(exit).toBe(0);
    expect(answer).toMatchObject({
      ...{ verified: true, product: publisher.product, machine: "machine-1" },
      ...{
        secureBoot: "enabled",
        closed: true,
        vouched: [{ text: "db vouched: CN=UKI Production", fingerprint: sha256Hex(publisher.firmwareKey) }],
      },
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
    await writeFile(join(verifier.directory, "device.json"), JSON.stringify(await ask(device, nonce)));
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
    const { exit, stdout } = await verifier.run(...command);
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
    const file = (name: string): string => join(verifier.directory, name);
    await writeFile(file("ak.pem"), keyObjectOf(area).export({ type: "spki", format: "pem" }));
    await writeFile(file("quote.msg"), attestation.quote.statement);
    await writeFile(file("quote.sig"), attestation.quote.signature);
    const quoted = ["-u", "ak.pem", "-m", "quote.msg", "-s", "quote.sig"];
    const check = (qualifying: Uint8Array): Promise<unknown> =>
      run("tpm2_checkquote", [...quoted, "-q", hex(qualifying)], { cwd: verifier.directory });
    await check(asked);
    await expect(check(new Uint8Array(32))).rejects.toThrow();
  });

  test("answers each nonce anew: an answer to another one is refused (A29)", async () => {
    const [first, second] = [newNonce(), newNonce()];
    const document = await ask(device, first);
    expect((await verifier.verify(document, first)).exit).toBe(0);
    expect(await verifier.verify(document, second)).toMatchObject({ exit: 4, refused: "nonce" });
    expect(await verifier.verify({ ...document, nonce: second }, second)).toMatchObject({
      exit: 4,
      refused: "binding",
    });
    const later = await ask(device, second);
    expect((await verifier.verify(later, second)).exit).toBe(0);
    expect(await verifier.verify({ ...later, quote: document.quote }, second)).toMatchObject({
      exit: 4,
      refused: "quote",
    });
  });

  test("is refused when its PCRs, log or manifest are not those that it quoted (A29)", async () => {
    const nonce = newNonce();
    const document = await ask(device, nonce);
    const pcrs = { ...document.pcrs, 0: "0".repeat(64) };
    expect((await verifier.verify({ ...document, pcrs }, nonce)).refused).toBe("quote");
    const other = writeLog(bootEvents(publisher, { secureBoot: 0 }));
    const firmwareLog = Buffer.from(other).toString("base64");
    expect((await verifier.verify({ ...document, firmwareLog }, nonce)).refused).toBe("event-log");
    const { generation } = document;
    if (generation === undefined) throw new Error("nothing was applied");
    const manifest = Buffer.from("{}").toString("base64");
    expect(
      (await verifier.verify({ ...document, generation: { ...generation, manifest } }, nonce)).refused,
    ).toBe("binding");
    expect((await verifier.verify(JSON.stringify(document).slice(1), nonce)).refused).toBe("document");
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
    ] as const) {
      const given = await verifier.verify(document, nonce, ...flags);
      expect([check, given.exit, given.refused]).toEqual([check, 4, check]);
    }
    const given = await verifier.verifyUnder(publisher.manifestCa, document, nonce);
    expect(given).toMatchObject({ exit: 4, refused: "device-certificate" });
  });

  test("is asked over the control socket by mosctl, and writes a document for everybody", async () => {
    const nonce = newNonce();
    const runDirectory = join(verifier.directory, "run");
    await mkdir(join(runDirectory, "mos"), { recursive: true });
    const server = createApiServer(
      device.context,
      new Operations(() => undefined),
      "control",
      () => undefined,
    );
    await new Promise<void>((resolve) => server.listen(join(runDirectory, "mos/mosd.sock"), resolve));
    try {
      const main = join(import.meta.dirname, "../../src/main.ts");
      const script = `mount --bind "$RUN" /run && "$NODE" "$MAIN" mosctl attest --nonce "$NONCE" --output device.json && stat -c %a device.json`;
      const env = { RUN: runDirectory, NODE: process.execPath, MAIN: main, NONCE: nonce };
      const args = ["--mount", "--propagation", "private", "bash", "-c", script];
      const { stdout } = await run("unshare", args, { env, cwd: verifier.directory });
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
    expect((await verifier.run(...command)).exit).toBe(0);
  });

  test("holds nothing secret in its document", async () => {
    const text = JSON.stringify(await ask(device, newNonce()));
    const { stdout } = await run("cat", [join(device.directory, "secure/server.key")]);
    for (const line of stdout.split("\n").slice(1, -2)) expect(text).not.toContain(line);
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
    const { exit, stdout } = await verifier.run(...command, ...flags, "--json");
    return [exit, JSON.parse(stdout).error.code];
  };
  expect(await call()).toEqual([3, "file-unreadable"]);
  expect(await call("--min-epoch", "one")).toEqual([2, "usage"]);
  expect(await call("--pcr", "7=00")).toEqual([2, "usage"]);
  const { stdout } = await verifier.run("trust", "attest", "nonce");
  expect(stdout).toMatch(/^[0-9a-f]{64}\n$/);
});
