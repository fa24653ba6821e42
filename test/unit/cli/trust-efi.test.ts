import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { execute } from "../../../src/cli/frame.ts";
import { app } from "../../../src/cli/trust/app.ts";
import { text, writePe } from "../efi/pe-writer.ts";
import { recordingTerminal } from "./terminal.ts";

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "trust-efi-cli-"));
  await trust("keyset", "add", "demo", "--key-type", "p256");
});
afterAll(() => rm(root, { recursive: true, force: true }));

const program = (): string => join(root, "program.efi");
const output = (): string => `${program()}.signed`;
const keyOf = (name: string): string => join(root, "demo", name, "privkey.pem");
const certificateOf = (name: string): string => join(root, "demo", name, "cert.pem");
const unsigned = writePe([{ name: ".text", content: text("code") }]);

beforeEach(async () => {
  await writeFile(program(), unsigned);
  await rm(output(), { force: true });
});

async function trust(...argv: readonly string[]) {
  const terminal = recordingTerminal({ MOS_KEYSETS: root });
  const exit = await execute(app, argv, terminal);
  return { exit, out: terminal.out(), err: terminal.err() };
}

const sign = (key: string, ...more: readonly string[]) =>
  trust("sign", "efi", "--key", keyOf(key), "--cert", certificateOf(key), ...more, program());
const verify = (certificate: string, file = output(), ...more: readonly string[]) =>
  trust("verify", "efi", "--cert", certificateOf(certificate), file, ...more);

describe("trust sign efi", () => {
  test("writes a signed copy beside the program, which verify accepts", async () => {
    expect(await sign("uefi-db")).toMatchObject({ exit: 0, out: expect.stringContaining("as CN=UEFI DB") });
    expect(await readFile(program())).toEqual(Buffer.from(unsigned));
    expect(await verify("uefi-db")).toMatchObject({ exit: 0, out: expect.stringContaining("CN=UEFI DB") });
    const { out } = await verify("uefi-db", output(), "--json");
    expect(JSON.parse(out)).toMatchObject({
      file: output(),
      digest: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
  });

  test("signs in place when it is told so, and does nothing when that is done", async () => {
    expect((await sign("uefi-db", "--output", program())).exit).toBe(0);
    const before = await stat(program());
    expect((await sign("uefi-db", "--output", program())).out).toContain("Nothing to do");
    expect((await stat(program())).ino).toBe(before.ino);
  });

  test("does not replace another file", async () => {
    await writeFile(output(), "precious");
    expect(await sign("uefi-db")).toMatchObject({ exit: 3, err: expect.stringContaining("output-exists") });
    expect(await readFile(output(), "utf8")).toBe("precious");
  });

  test.each([
    ["a key of another certificate", "uefi-db", "uki-tpm", "key-invalid"],
    ["a key that firmware does not know", "manifest-ca", "manifest-ca", "key-invalid"],
    ["a key that is not there", "nothing", "uefi-db", "file-unreadable"],
  ])("refuses %s and writes nothing", async (_what, key, certificate, code) => {
    const { exit, err } = await trust(
      ...["sign", "efi", "--key", keyOf(key), "--cert", certificateOf(certificate), program()],
    );
    expect([exit, err]).toEqual([3, expect.stringContaining(`code: ${code}`)]);
    await expect(stat(output())).rejects.toThrow();
  });

  test("never prints the key, whatever goes wrong", async () => {
    const secret = (await readFile(keyOf("uefi-db"), "utf8")).split("\n")[1] ?? "";
    for (const [key, certificate] of [
      [keyOf("uefi-db"), certificateOf("uki-tpm")],
      [certificateOf("uefi-db"), keyOf("uefi-db")],
    ] as const) {
      const { out, err } = await trust("sign", "efi", "--key", key, "--cert", certificate, program());
      expect(out + err).not.toContain(secret);
    }
  });

  test("refuses what is no EFI program", async () => {
    await writeFile(program(), "#!/bin/sh\n");
    expect(await sign("uefi-db")).toMatchObject({
      exit: 4,
      err: expect.stringContaining("efi-image-malformed"),
    });
  });
});

describe("trust verify efi", () => {
  test.each([
    ["without a signature", "efi-signature-missing", async () => program()],
    [
      "signed by another key",
      "efi-signature-invalid",
      async () => {
        await sign("uki-tpm");
        return output();
      },
    ],
    [
      "altered after it was signed",
      "efi-signature-invalid",
      async () => {
        await sign("uefi-db");
        const altered = await readFile(output());
        altered.write("evil", altered.indexOf("code"));
        await writeFile(output(), altered);
        return output();
      },
    ],
  ])("refuses a program %s, and says which", async (_what, code, make) => {
    const file = await make();
    const { exit, err } = await verify("uefi-db", file);
    expect([exit, err]).toEqual([4, expect.stringContaining(`code: ${code}`)]);
    expect(err).toContain(`about: ${file}`);
  });
});

describe("trust computePCR7", () => {
  test("prints one line for each role, as the published system does", async () => {
    const { exit, out } = await trust("computePCR7", "demo");
    expect([exit, out]).toEqual([
      0,
      expect.stringMatching(
        /^uki-production: [0-9a-f]{64}\nuki-limited: [0-9a-f]{64}\nuki-tpm: [0-9a-f]{64}\n$/,
      ),
    ]);
    expect(JSON.parse((await trust("computePCR7", "demo", "--json")).out)).toEqual(
      Object.fromEntries(
        out
          .trim()
          .split("\n")
          .map((line) => line.split(": ")),
      ),
    );
  });

  test("is another value without shim, and another one without the manifest CA", async () => {
    const shim = (await trust("computePCR7", "demo")).out.split("\n")[0];
    const direct = (await trust("computePCR7", "--direct", "demo")).out.trim();
    const bare = (await trust("computePCR7", "--direct", "--no-manifest-ca", "demo")).out.trim();
    expect(direct).toMatch(/^uki-production: [0-9a-f]{64}$/);
    expect(new Set([shim, direct, bare]).size).toBe(3);
  });

  test("refuses a keyset that is not there, or has lost a part", async () => {
    expect((await trust("computePCR7", "nothing")).err).toContain("code: keyset-unknown");
    await trust("keyset", "add", "broken", "--key-type", "p256");
    await rm(join(root, "broken/uefi-kek/guid"));
    expect((await trust("computePCR7", "broken")).err).toContain("code: file-unreadable");
    await writeFile(join(root, "broken/uefi-kek/guid"), "not a guid");
    expect((await trust("computePCR7", "broken")).err).toContain("code: name-invalid");
  });
});
