// The keys of a keyset in OVMF's variables, by Debian's virt-fw-vars.
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../src/system/process.ts";
import { toolsRoot } from "../../tools/roots.ts";
import { trixiePrograms } from "./trixie-programs.ts";
import { makeWorkDirectory } from "./work-directory.ts";

const main = join(import.meta.dirname, "../../src/main.ts");

let work: string;
let path: string;
beforeAll(async () => {
  work = await makeWorkDirectory();
  const tools = await toolsRoot();
  path = await trixiePrograms(tools, work, ["virt-fw-vars"]);
  await cp(join(tools, "usr/share/OVMF/OVMF_VARS_4M.fd"), join(work, "empty.fd"));
  for (const name of ["demo", "other"]) await trust("keyset", "add", name, "--key-type", "p256");
}, 900_000);
afterAll(() => rm(work, { recursive: true, force: true }));

async function trust(...args: readonly string[]) {
  const env = { MOS_KEYSETS: join(work, "keys"), PATH: path };
  const { exitCode, stdout, stderr } = await run(process.execPath, [main, "trust", ...args], {
    ...{ accept: [0, 1, 2, 3, 4, 5, 6, 7, 8], env, cwd: work },
  });
  return { exit: exitCode, stdout, stderr };
}

const efivars = (output: string, ...more: readonly string[]) =>
  trust("efivars", "demo", "--input", "empty.fd", "--output", output, ...more);

/** Names of variables with the subjects that their certificates have. */
async function printed(file: string): Promise<string> {
  return (await run("virt-fw-vars", ["-i", file, "-p", "-v"], { env: { PATH: path }, cwd: work })).stdout;
}

describe.skipIf(process.getuid?.() !== 0)("trust efivars", () => {
  test("puts PK, KEK, db with the manifest CA, and Secure Boot into the variables", async () => {
    expect(await efivars("full.fd")).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining("Wrote full.fd"),
    });
    const text = await printed("full.fd");
    const subjects = [...text.matchAll(/^name=(\w+)|subject .*CN=(.*)$/gm)].map(([, name, cn]) => name ?? cn);
    const of = (name: string, next: string) =>
      subjects.slice(subjects.indexOf(name) + 1, subjects.indexOf(next));
    expect(of("PK", "SecureBootEnable")).toEqual(["UEFI PK"]);
    expect(of("KEK", "PK")).toEqual(["UEFI KEK"]);
    expect(of("db", "dbx")).toEqual(["UEFI DB", "UKI Production", "Manifest rootCA"]);
    expect(text).toMatch(/name=SecureBootEnable.*\n\s+bool: ON/);
  });

  test("leaves the manifest CA out when told so, and PCR 7 is another one", async () => {
    const without = JSON.parse((await efivars("bare.fd", "--no-manifest-ca", "--json")).stdout);
    expect(await printed("bare.fd")).not.toContain("Manifest rootCA");
    const direct = async (...more: readonly string[]) =>
      JSON.parse((await trust("computePCR7", "--direct", "demo", "--json", ...more)).stdout)[
        "uki-production"
      ];
    expect(without.pcr7).toBe(await direct("--no-manifest-ca"));
    expect(without.pcr7).not.toBe(await direct());
  });

  test("makes the same file again, and does not touch another", async () => {
    await efivars("twice.fd");
    expect((await efivars("twice.fd")).stdout).toContain("Nothing to do");
    await writeFile(join(work, "precious.fd"), "precious");
    const { exit, stderr } = await efivars("precious.fd");
    expect([exit, stderr]).toEqual([3, expect.stringContaining("code: output-exists")]);
    expect(await readFile(join(work, "precious.fd"), "utf8")).toBe("precious");
  });

  test("refuses variables that hold keys of others already", async () => {
    await trust("efivars", "other", "--input", "empty.fd", "--output", "other.fd");
    const { exit, stderr } = await trust("efivars", "demo", "--input", "other.fd", "--output", "mixed.fd");
    expect([exit, stderr]).toEqual([1, expect.stringContaining("its KEK is not what it was told to write")]);
    await expect(readFile(join(work, "mixed.fd"))).rejects.toThrow();
  });

  test("says which file it cannot read, and which package is missing", async () => {
    expect((await trust("efivars", "demo", "--input", "no.fd", "--output", "x.fd")).stderr).toContain(
      "code: file-unreadable",
    );
    path = join(work, "nothing");
    expect((await efivars("x.fd")).stderr).toContain("hint: apt-get install python3-virt-firmware");
  });
});
