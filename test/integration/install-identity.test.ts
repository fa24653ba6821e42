// The identity that an installer gives to a machine: made there, or from a medium of its own, in a mount namespace where
// such a medium is.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readIdentity } from "../../src/install/identity.ts";
import { run } from "../../src/system/process.ts";
import { readCertificates } from "../../src/trust/certificate.ts";
import { deviceOf } from "../../src/trust/product.ts";

const product = "3b2a6d1e-6f0f-4d0a-9a2c-0f6d8f1f7c55";

let work: string;
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), "mos-identity-"));
});
afterAll(() => rm(work, { recursive: true, force: true }));

describe("the identity that an installer gives to a machine", () => {
  test("can be made by the machine: for the product, with a key that is nobody else's", async () => {
    const [first, second] = [await readIdentity("device", product), await readIdentity("device", product)];
    const [certificate] = readCertificates(Buffer.from(first.certificate));
    expect(deviceOf(certificate.subject.serialNumber)?.product).toBe(product);
    expect(first.privateKey).toContain("PRIVATE KEY");
    expect(second.privateKey).not.toBe(first.privateKey);
  });

  test("is not made for a device that does not know its product", async () => {
    await expect(readIdentity("device", undefined)).rejects.toThrow(
      /the policy of the initrd names no product/,
    );
  });

  test("is not there when its medium is not", async () => {
    await expect(readIdentity("medium", product)).rejects.toThrow(
      expect.objectContaining({ code: "install-refused", hint: expect.stringContaining("MOS-IDENTITY") }),
    );
  });

  test("comes from a medium with its label, which is left alone", async () => {
    const [files, medium] = [join(work, "files"), join(work, "medium")];
    await mkdir(files);
    await writeFile(join(files, "cert.pem"), "a certificate");
    await writeFile(join(files, "privkey.pem"), "a key");
    await run("mke2fs", ["-q", "-t", "ext4", "-L", "MOS-IDENTITY", "-d", files, medium, "8M"]);
    const before = (await run("sha256sum", [medium])).stdout;
    const module = join(import.meta.dirname, "../../src/install/identity.ts");
    const program = `const { readIdentity } = await import(${JSON.stringify(module)});
console.log(JSON.stringify(await readIdentity("medium", undefined)));`;
    // A /dev of its own, with such a medium and what mounting needs.
    const script = `dev=$0.dev; mkdir "$dev"; mount -t tmpfs tmpfs "$dev"
cp -a /dev/loop* /dev/null /dev/urandom "$dev"; mkdir -p "$dev/disk/by-label"
ln -s "$0" "$dev/disk/by-label/MOS-IDENTITY"; mount --bind "$dev" /dev
exec "$1" --input-type=module -e "$2"`;
    const command = ["--mount", "sh", "-ec", script, medium, process.execPath, program];
    const { stdout } = await run("unshare", command);
    expect(JSON.parse(stdout)).toEqual({ certificate: "a certificate", privateKey: "a key" });
    expect((await run("sha256sum", [medium])).stdout).toBe(before);
  });
});
