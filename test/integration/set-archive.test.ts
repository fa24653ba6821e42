// Sets in archives: the archive's own signature comes first.
import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { appendFile, mkdir, readdir, readFile, rename, rm, utimes, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { describe, expect, test } from "vitest";
import { asMosError } from "../../src/errors/mos-error.ts";
import { fromText } from "../../src/signed-files/byte-path.ts";
import { digestFile } from "../../src/signed-files/read-files.ts";
import { blobOf, makeSignature } from "../../src/signed-files/signature-file.ts";
import { archiveSet } from "../../src/signed-sets/archive-set.ts";
import { installSet } from "../../src/signed-sets/install-set.ts";
import { withSetTree } from "../../src/signed-sets/open-source.ts";
import { makeTree, setPlace } from "../unit/signed-sets/set-fixture.ts";

const { publicKey, privateKey } = generateKeyPairSync("ed25519");

/** A set in set.tar.gz, signed. */
async function archived() {
  const at = await setPlace();
  await makeTree(at.path("set"), { a: "A", "d/l": { to: "../a" } }, 1, { key: privateKey });
  const archive = at.path("set.tar.gz");
  execFileSync("tar", ["-czf", archive, "-C", at.path("set"), "."]);
  const sign = async () => {
    const blob = blobOf(fromText("set.tar.gz"), {
      type: "regular",
      sha512: digestFile(fromText(archive), false),
    });
    await writeFile(`${archive}.sig`, makeSignature(blob, privateKey));
  };
  await sign();
  const install = (file = archive) =>
    withSetTree(file, [publicKey], at.state, (tree) =>
      installSet(at, tree, [publicKey], { force: false }),
    ).then(
      ({ outcome }) => outcome,
      (error: unknown) => asMosError(error).code,
    );
  return { ...at, archive, sign, install };
}

describe("an archive with a signature", () => {
  test("is installed as the directory would be, and nothing of it is left behind", async () => {
    const at = await archived();
    expect(await at.install()).toBe("installed");
    expect(await at.installed()).toEqual({ a: "A", d: "/", "d/l": "-> ../a" });
    expect((await readdir(at.state)).sort()).toEqual([".lock", "quadlets.json"]);
    expect(await at.install()).toBe("unchanged");
  });
  test("that mosb makes is installed, and is the same when it is made again", async () => {
    const at = await archived();
    const made: Buffer[] = [];
    for (const name of ["made.tar.gz", "again/made.tar.gz"]) {
      await mkdir(dirname(at.path(name)), { recursive: true });
      await utimes(at.path("set/a"), made.length, made.length);
      await archiveSet(at.path("set"), at.path(name), privateKey);
      made.push(await readFile(at.path(name)), await readFile(at.path(`${name}.sig`)));
    }
    expect(made[2]).toEqual(made[0]);
    expect(made[3]).toEqual(made[1]);
    expect(await readdir(at.path("again"))).toEqual(["made.tar.gz", "made.tar.gz.sig"]);
    expect(await at.install(at.path("made.tar.gz"))).toBe("installed");
  });
  test("is not looked into when the signature does not hold, is missing, or is for another name", async () => {
    const at = await archived();
    await appendFile(at.archive, "x");
    expect(await at.install()).toBe("signed-file-invalid");
    await at.sign();
    // The signature holds now; what the archive is shows only when it is read.
    expect(await at.install()).toBe("archive-refused");
    await rename(at.archive, at.path("other.tar.gz"));
    await rename(`${at.archive}.sig`, at.path("other.tar.gz.sig"));
    expect(await at.install(at.path("other.tar.gz"))).toBe("signed-file-invalid");
    await rm(at.path("other.tar.gz.sig"));
    expect(await at.install(at.path("other.tar.gz"))).toBe("signed-file-unsigned");
    expect(await at.install(at.path("none.tar.gz"))).toBe("signed-source-unusable");
    expect(await at.installed()).toEqual({});
    expect(await readdir(at.state).catch(() => [])).toEqual([]);
  });
});
