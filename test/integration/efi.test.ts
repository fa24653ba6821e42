// What mos makes for firmware, read by sbsigntool and efitools; and what they make, read by mos.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseGuid } from "../../src/efi/guid.ts";
import { readCertificateFile, readSigner } from "../../src/efi/image-file.ts";
import { parsePe } from "../../src/efi/pe.ts";
import { signImage } from "../../src/efi/sign-image.ts";
import {
  decodeSignatureLists,
  encodeSignatureLists,
  listOf,
  signatureTypes,
} from "../../src/efi/signature-list.ts";
import { verifyImage } from "../../src/efi/verify-image.ts";
import { run } from "../../src/system/process.ts";
import { addKeyset } from "../../src/trust/keyset.ts";
import { toolsRoot } from "../../tools/roots.ts";

const owner = "11111111-2222-3333-4444-555566667777";

let directory: string;
let keyset: string;
let tools: string;
beforeAll(async () => {
  tools = await toolsRoot();
  directory = await mkdtemp(join(tmpdir(), "mos-efi-"));
  keyset = await addKeyset({ root: directory, name: "demo", organizations: [], keyType: "p256" });
}, 900_000);
afterAll(() => rm(directory, { recursive: true, force: true }));

const file = (name: string): string => join(directory, name);
const keyOf = (name: string): string => join(keyset, name, "privkey.pem");
const certificateOf = (name: string): string => join(keyset, name, "cert.pem");

describe.each(["linuxx64.efi.stub", "systemd-bootx64.efi", "addonx64.efi.stub"])("%s", (name) => {
  const input = (): string => join(tools, "usr/lib/systemd/boot/efi", name);

  test("signed by mos is accepted by sbverify, and refused under another key", async () => {
    const { key, certificate } = await readSigner(keyOf("uefi-db"), certificateOf("uefi-db"));
    const path = file(`${name}.mos`);
    await writeFile(path, signImage(await readFile(input()), key, certificate, name));
    const { stdout } = await run("sbverify", ["--cert", certificateOf("uefi-db"), path]);
    expect(stdout).toContain("Signature verification OK");
    const refused = await run("sbverify", ["--cert", certificateOf("uki-limited"), path], { accept: [1] });
    expect(refused.stderr + refused.stdout).toContain("Signature verification failed");
  });

  test("signed by sbsign is accepted by mos, and refused under another key", async () => {
    const path = file(`${name}.sbsign`);
    const keys = ["--key", keyOf("uki-production"), "--cert", certificateOf("uki-production")];
    await run("sbsign", [...keys, "--output", path, input()]);
    const image = parsePe(await readFile(path), name);
    const { certificate } = verifyImage(image, await readCertificateFile(certificateOf("uki-production")));
    expect(certificate.subject.text).toBe("CN=UKI Production");
    const others = await readCertificateFile(certificateOf("uefi-db"));
    expect(() => verifyImage(image, others)).toThrow(
      expect.objectContaining({ code: "efi-signature-invalid" }),
    );
  });

  test("signed by both is accepted by both", async () => {
    const { key, certificate } = await readSigner(keyOf("uefi-db"), certificateOf("uefi-db"));
    const path = file(`${name}.both`);
    await writeFile(path, signImage(await readFile(file(`${name}.sbsign`)), key, certificate, name));
    for (const signer of ["uefi-db", "uki-production"]) {
      const { stdout } = await run("sbverify", ["--cert", certificateOf(signer), path]);
      expect(stdout).toContain("Signature verification OK");
      verifyImage(parsePe(await readFile(path), name), await readCertificateFile(certificateOf(signer)));
    }
  });
});

describe("signature lists", () => {
  test("are the bytes that efitools makes", async () => {
    const [certificate] = await readCertificateFile(certificateOf("uefi-db"));
    await run("cert-to-efi-sig-list", ["-g", owner, certificateOf("uefi-db"), file("db.esl")]);
    const theirs = await readFile(file("db.esl"));
    const ours = encodeSignatureLists([
      listOf(signatureTypes.x509, { owner: parseGuid(owner), data: certificate.der }),
    ]);
    expect(Buffer.from(ours)).toEqual(theirs);
    const [list] = decodeSignatureLists(theirs, "db");
    expect(list?.entries[0]).toMatchObject({ owner });
  });

  test("of mos are read by efitools, several lists one after the other", async () => {
    const certificates = await Promise.all(
      ["uefi-pk", "uefi-kek", "uefi-db", "uki-production", "uki-limited", "uki-tpm"].map(async (name) => {
        const [certificate] = await readCertificateFile(certificateOf(name));
        return certificate.der;
      }),
    );
    const lists = certificates.map((data) => listOf(signatureTypes.x509, { owner: parseGuid(owner), data }));
    await writeFile(file("all.esl"), encodeSignatureLists(lists));
    await run("sig-list-to-certs", [file("all.esl"), file("read-back")]);
    for (const [index, der] of certificates.entries()) {
      expect(await readFile(file(`read-back-${index}.der`))).toEqual(Buffer.from(der));
    }
  });
});
