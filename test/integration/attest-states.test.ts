// Attestation at each state of a start, after a restart, and with another TPM than the device's: attack A29.
import { cp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  apply,
  ask,
  bootEvents,
  type Device,
  deviceOf,
  initrd,
  makeDevice,
  makePublisher,
  newNonce,
  type Publisher,
  powerOn,
  reachPhases,
  start,
  Verifier,
} from "./attest-fixture.ts";
import { startSwtpm } from "./swtpm-fixture.ts";
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

describe("at each state of a start (A29)", () => {
  const identityMissing = expect.objectContaining({ code: "identity-missing" });

  test("a device answers once its initrd has taken its identity out of the TPM, and not before", async () => {
    await powerOn(device, bootEvents(publisher));
    await expect(ask(device, newNonce())).rejects.toEqual(identityMissing);
    await initrd(publisher, device);
    const nonce = newNonce();
    expect((await verifier.verify(await ask(device, nonce), nonce)).answer).toMatchObject({
      ...{ verified: true, logs: { systemd: "absent" } },
    });
    await reachPhases(device, "ready");
    const later = newNonce();
    expect((await verifier.verify(await ask(device, later), later)).exit).toBe(0);
  });

  test("a restart changes the TPM's counters, and makes no answer from before good for a new nonce", async () => {
    await start(publisher, device);
    const [first, second] = [newNonce(), newNonce()];
    const before = await ask(device, first);
    await start(publisher, device);
    const after = await ask(device, second);
    expect(await verifier.verify(before, second)).toMatchObject({ exit: 4, refused: "nonce" });
    // The answer to the first stays what it was, with no device and no TPM at hand.
    const [one, other] = [await verifier.verify(before, first), await verifier.verify(after, second)];
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
    expect(await verifier.verify(document, nonce)).toMatchObject({ exit: 4, refused: "closed" });
    expect((await verifier.verify(document, nonce, "--no-require-closed")).answer.closed).toBe(false);
  });

  test("another kernel is seen in its PCR, a start without Secure Boot gives no identity at all", async () => {
    await powerOn(device, bootEvents(publisher, { kernel: "another" }));
    await initrd(publisher, device);
    const nonce = newNonce();
    const good = await verifier.verify(await ask(device, nonce), nonce);
    const pcr11 = good.answer.pcrs.find(({ pcr }: { pcr: number }) => pcr === 11).value;
    await start(publisher, device);
    const again = newNonce();
    const expected = ["--pcr", `11=${pcr11}`];
    expect(await verifier.verify(await ask(device, again), again, ...expected)).toMatchObject({
      refused: "pcr",
    });

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
    expect(await verifier.verify(document, nonce)).toMatchObject({ exit: 4, refused: "secure-boot" });
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
      expect((await verifier.verify(document, nonce)).answer.machine).toBe("machine-2");
      expect(await verifier.verify(document, nonce, "--machine", "machine-1")).toMatchObject({
        exit: 4,
        refused: "machine",
      });

      // Certificate and voucher of the first device do not go with the second's TPM.
      await start(publisher, device);
      const own = await ask(device, nonce);
      expect((await verifier.verify({ ...document, device: own.device }, nonce)).refused).toBe("binding");
      expect((await verifier.verify({ ...own, quote: document.quote }, nonce)).refused).toBe("quote");

      // Somebody who stole the first device's key can speak for it with another TPM: its key tells.
      const { attestationKey } = (await verifier.verify(own, nonce)).answer;
      const secure = join(other.directory, "secure");
      await rm(secure, { recursive: true });
      await cp(join(device.directory, "secure"), secure, { recursive: true });
      const forged = await ask(other, nonce);
      expect((await verifier.verify(forged, nonce)).answer.machine).toBe("machine-1");
      const pinned = await verifier.verify(forged, nonce, "--attestation-key", attestationKey);
      expect(pinned).toMatchObject({ exit: 4, refused: "attestation-key" });
    } finally {
      await other.swtpm.stop();
    }
  });
});
