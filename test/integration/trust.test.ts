// Against openssl, the other implementation: what it signs and issues we take, what we sign and issue it takes.
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { addKeyset, addProject, openProject } from "../../src/trust/keyset.ts";
import { verifySignedManifest } from "../../src/trust/manifest-signature.ts";
import { profiles } from "../../src/trust/profiles.ts";
import { signBytes } from "../../src/trust/signature.ts";

const execute = promisify(execFile);
const keyTypes = ["rsa2048", "p256"] as const;

import { rootOfFile } from "../unit/trust/roots.ts";

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "trust-openssl-"));
  for (const name of keyTypes) {
    await addKeyset({ root, name, organizations: ["Example"], keyType: name });
    await addProject(root, name, "zot");
  }
  await writeFile(manifestPath(), '{"version":1}');
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

const manifestPath = (): string => join(root, "install.json");
const keyset = (name: string, ...rest: readonly string[]): string => join(root, name, ...rest);
const openssl = async (...args: readonly string[]): Promise<string> =>
  (await execute("openssl", args)).stdout;

async function verify(certificates: Uint8Array, signature: Uint8Array, ca: string) {
  return verifySignedManifest(
    await readFile(manifestPath()),
    { certificates, signature },
    await rootOfFile(ca),
    { kind: "at", date: new Date(), source: "the system clock" },
  );
}

describe.each(keyTypes)("with %s keys", (name) => {
  test("openssl verifies what mos signs", async () => {
    const { key } = await openProject(root, `${name}:zot`);
    const signaturePath = join(root, `${name}.signed`);
    await writeFile(signaturePath, signBytes(await readFile(manifestPath()), key));
    const publicKey = join(root, `${name}.pub`);
    await writeFile(
      publicKey,
      await openssl("x509", "-in", keyset(name, "manifest/zot/cert.pem"), "-noout", "-pubkey"),
    );
    const said = await openssl(
      "dgst",
      "-sha256",
      "-verify",
      publicKey,
      "-signature",
      signaturePath,
      manifestPath(),
    );
    expect(said).toContain("Verified OK");
  });

  test("mos verifies what openssl signs", async () => {
    const signaturePath = join(root, `${name}.openssl`);
    const key = keyset(name, "manifest/zot/privkey.pem");
    await openssl("dgst", "-sha256", "-sign", key, "-out", signaturePath, manifestPath());
    const signer = await verify(
      await readFile(keyset(name, "manifest/zot/cert.pem")),
      await readFile(signaturePath),
      keyset(name, "manifest-ca/cert.pem"),
    );
    expect(signer.chain).toHaveLength(2);
  });

  test("openssl verifies the chains of the keyset", async () => {
    const check = (ca: string, certificate: string) =>
      openssl("verify", "-CAfile", keyset(name, ca), keyset(name, certificate));
    expect(await check("manifest-ca/cert.pem", "manifest/zot/cert.pem")).toContain("OK");
    expect(await check("uefi-pk/cert.pem", "uefi-kek/cert.pem")).toContain("OK");
    await expect(check("sudi-ca/cert.pem", "manifest/zot/cert.pem")).rejects.toThrow();
  });

  test("every certificate says what the published profile says", async () => {
    for (const profile of profiles) {
      const path = keyset(name, profile.name, "cert.pem");
      const text = await openssl("x509", "-in", path, "-noout", "-text");
      expect(text).toMatch(new RegExp(`Subject: .*CN = ${profile.commonName}\n`));
      expect(text.includes("CA:TRUE"), profile.name).toBe(profile.role === "ca");
      expect(text.includes("Digital Signature"), profile.name).toBe(profile.role !== "ca");
      expect(text.includes("Code Signing"), profile.name).toBe(profile.role === "signer");
      const isRsa = name === "rsa2048" || profile.name !== "manifest-ca";
      expect(text, profile.name).toContain(isRsa ? "Public-Key: (2048 bit)" : "NIST CURVE: P-256");
      const years = Number(/Not After : .* (\d{4}) GMT/.exec(text)?.[1]) - new Date().getUTCFullYear();
      if (typeof profile.validity === "number") expect(years, profile.name).toBe(profile.validity);
      else expect(text).toContain("Not After : Dec 31 23:00:00 2099 GMT");
      expect(
        (await openssl("pkey", "-in", keyset(name, profile.name, "privkey.pem"), "-check", "-noout")).trim(),
      ).toBe("Key is valid");
    }
    const project = await openssl("x509", "-in", keyset(name, "manifest/zot/cert.pem"), "-noout", "-text");
    expect(project).toMatch(/Issuer: O = Example, OU = Project Machine Project \w+, CN = Manifest rootCA\n/);
    const uuid = await readFile(keyset(name, "manifest/zot/uuid"), "utf8");
    expect(project).toContain(`CN = manifest PRODUCT:${uuid}\n`);
  });
});

describe("a CA that openssl runs", () => {
  const ca = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"];
  const signer = [
    "basicConstraints=CA:FALSE",
    "keyUsage=critical,digitalSignature",
    "extendedKeyUsage=codeSigning",
  ];

  async function signAndVerify(leaf: string, intermediates: readonly string[], anchor: string) {
    const signaturePath = join(root, `own-${leaf}.signed`);
    await openssl(
      "dgst",
      "-sha256",
      "-sign",
      join(root, `own-${leaf}.key`),
      "-out",
      signaturePath,
      manifestPath(),
    );
    const pems = await Promise.all(
      [leaf, ...intermediates].map((name) => readFile(join(root, `own-${name}.pem`))),
    );
    return await verify(Buffer.concat(pems), await readFile(signaturePath), anchor);
  }

  /** A key and a certificate, own-NAME.key and own-NAME.pem, issued by another of these. */
  async function issue(
    name: string,
    extensions: readonly string[],
    issuer: string,
    more: readonly string[] = [],
  ) {
    const file = (suffix: string): string => join(root, `own-${name}.${suffix}`);
    await openssl(
      "req",
      "-newkey",
      "rsa:2048",
      "-noenc",
      "-subj",
      `/O=Own/CN=${name}`,
      "-keyout",
      file("key"),
      "-out",
      file("csr"),
    );
    await writeFile(file("ext"), extensions.join("\n"));
    await openssl(
      ...["x509", "-req", "-in", file("csr"), "-CA", join(root, `own-${issuer}.pem`)],
      ...["-CAkey", join(root, `own-${issuer}.key`), "-CAcreateserial", "-days", "30"],
      ...["-extfile", file("ext"), "-out", file("pem"), ...more],
    );
  }

  let anchor: string;
  beforeAll(async () => {
    anchor = join(root, "own-root.pem");
    await openssl(
      ...["req", "-x509", "-newkey", "rsa:2048", "-noenc", "-subj", "/O=Own/CN=root", "-days", "30"],
      ...["-keyout", join(root, "own-root.key"), "-out", anchor],
    );
    await issue("middle", ca, "root");
    await issue("signer", signer, "middle");
  });

  test("vouches through an intermediate", async () => {
    const { chain } = await signAndVerify("signer", ["middle"], anchor);
    expect(chain).toEqual(["O=Own, CN=signer", "O=Own, CN=middle", "O=Own, CN=root"]);
  });

  test.each([
    ["chain-not-ca", ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature,keyCertSign"]],
    ["chain-constraint", ["basicConstraints=critical,CA:TRUE", "keyUsage=cRLSign"]],
    ["chain-constraint", [...ca, "nameConstraints=critical,permitted;DNS:example.org"]],
    ["chain-constraint", [...ca, "1.2.3.4=critical,DER:0500"]],
    ["chain-constraint", [...ca, "extendedKeyUsage=serverAuth"]],
  ])("is refused with %s through an intermediate with %j", async (code, extensions) => {
    await issue("bad", extensions, "root");
    await issue("victim", signer, "bad");
    await expect(signAndVerify("victim", ["bad"], anchor)).rejects.toEqual(expect.objectContaining({ code }));
  });

  test("is refused when it signs with SHA-1", async () => {
    await issue("old", signer, "root", ["-sha1"]);
    await expect(signAndVerify("old", [], anchor)).rejects.toEqual(
      expect.objectContaining({ code: "algorithm-refused" }),
    );
  });
});

describe("the command itself", () => {
  const main = join(import.meta.dirname, "../../src/main.ts");
  const mos = (args: readonly string[], env: Record<string, string> = {}) =>
    execute(process.execPath, [main, ...args], { env: { MOS_KEYSETS: root, ...env } }).then(
      ({ stdout, stderr }) => ({ exit: 0, stdout, stderr }),
      ({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }) => ({
        exit: code,
        stdout,
        stderr,
      }),
    );

  test("answers --version for itself and each of its names", async () => {
    expect((await mos(["--version"])).stdout).toBe("mos dev\n");
    expect((await mos(["trust", "--version"])).stdout).toBe("trust dev\n");
  });

  test("lists its names, and refuses others", async () => {
    expect((await mos([])).stdout).toContain("mos trust");
    const { exit, stdout, stderr } = await mos(["nothing"]);
    expect([exit, stdout]).toEqual([2, ""]);
    expect(stderr).toContain('there is no mos "nothing"');
  });

  test("runs a CLI and exits with its code", async () => {
    const { exit, stdout, stderr } = await mos([
      "trust",
      "keyset",
      "show",
      "rsa2048",
      "manifest-ca",
      "privkey.pem",
    ]);
    expect([exit, stdout]).toEqual([3, ""]);
    expect(stderr).toMatch(/^error: cannot show a private key/);
    expect((await mos(["mos-trust", "keyset", "list"])).stdout).toContain("rsa2048");
  });

  test("does not mind a reader that goes away", async () => {
    const shell = spawn(
      "sh",
      [
        "-c",
        'trap "" PIPE; "$0" "$1" trust keyset show p256 --json | head -c 1; wait',
        process.execPath,
        main,
      ],
      {
        env: { ...process.env, MOS_KEYSETS: root },
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    let stderr = "";
    shell.stderr.on("data", (data) => {
      stderr += data;
    });
    const exit = await new Promise((resolve) => shell.on("close", resolve));
    expect([exit, stderr]).toEqual([0, ""]);
  });

  test("completes in bash", async () => {
    const script = [
      'trust() { "$NODE" "$MAIN" trust "$@"; }',
      "source <(trust completion bash)",
      'COMP_WORDS=(trust keyset show p2); COMP_CWORD=3; _trust_complete; echo "$' + '{COMPREPLY[*]}"',
      "COMP_WORDS=(trust ''); COMP_CWORD=1; _trust_complete; echo \"$" + '{COMPREPLY[*]}"',
    ].join("\n");
    const env = { ...process.env, MOS_KEYSETS: root, NODE: process.execPath, MAIN: main };
    expect((await execute("bash", ["-c", script], { env })).stdout).toMatch(
      /^p256\n.*\bkeyset project sudi .*\bcompletion\n$/,
    );
  });
});
