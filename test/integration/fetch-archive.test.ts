// A device without a network is updated from one file: a tar of an OCI layout, made by tar(1) as the documentation says,
// in every format that it writes.
import { execFileSync } from "node:child_process";
import { appendFile, readFile, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listGenerations } from "../../src/generation/generations.ts";
import { Layout } from "../../src/oci/layout.ts";
import { mediaTypes } from "../../src/oci/model.ts";
import { openRepositories } from "../../src/oci/open.ts";
import { parseReference } from "../../src/oci/reference.ts";
import { run } from "../../src/system/process.ts";
import { temporaryDirectory } from "../support.ts";
import { collect, failsWith } from "./bad-registry.ts";
import { type PublishedSet, publishSet, updateTo } from "./fetch-fixture.ts";
import { flipped, makeSigners, newDevice, type Signers } from "./refusals-fixture.ts";
import { expectWhole, largeOf } from "./through-fault.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let signers: Signers;
let set: PublishedSet;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  set = await publishSet(work, signers, [1500, 100]);
});
afterAll(() => rm(work, { recursive: true, force: true }));

const members = ["oci-layout", "index.json", "blobs"];

/** An archive of the set, which ends with the test. */
async function archive(options: readonly string[] = [], of: readonly string[] = members): Promise<string> {
  const file = join(await temporaryDirectory(), "update.tar");
  execFileSync("tar", [...options, "-cf", file, "-C", set.directory, ...of]);
  return file;
}

test.each([
  ["as tar makes it", [], members],
  ["of the whole directory", [], ["."]],
  ["in the format of POSIX", ["--format=posix"], members],
  ["in the format of 1988", ["--format=ustar"], members],
  ["with extended headers for every file", ["--format=posix", "--pax-option=comment=x"], members],
])("an archive %s updates a device", async (_, options, of) => {
  const file = await archive(options, of);
  for (const end of [":1.0.0", ""]) {
    const device = await newDevice(signers);
    expect(await updateTo(device, `oci-archive:${file}${end}`)).toMatchObject({ code: "updated" });
    expect(await listGenerations(device.places)).toEqual([1]);
    await expectWhole(device, set);
  }
});

test("an image in an archive is read from any place in it", async () => {
  const { images } = openRepositories(parseReference(`oci-archive:${await archive()}`));
  const { bytes } = largeOf(set);
  const [descriptor] = set.images.map(({ layer }) => layer.descriptor);
  if (descriptor === undefined) throw new Error("no layer");
  for (const offset of [0, 1, 1_234_567, bytes.length]) {
    expect((await collect(images.blob(descriptor, offset))).equals(bytes.subarray(offset))).toBe(true);
  }
});

describe("an archive is refused when", () => {
  async function expectRefused(reference: string, code: string, message?: RegExp): Promise<void> {
    const device = await newDevice(signers);
    expect(await updateTo(device, reference)).toEqual(failsWith(code, message));
    expect(await listGenerations(device.places)).toEqual([]);
  }

  test("there is none", async () => {
    await expectRefused("oci-archive:/nowhere/update.tar", "not-found");
  });

  test("it has several tags and none is said", async () => {
    const directory = join(await temporaryDirectory(), "layout");
    execFileSync("cp", ["-r", set.directory, directory]);
    const layout = await Layout.open(directory);
    const { bytes } = await layout.manifest("1.0.0");
    await layout.putManifest(bytes, mediaTypes.manifest, "2.0.0");
    const file = `${directory}.tar`;
    execFileSync("tar", ["-cf", file, "-C", directory, ...members]);
    await expectRefused(`oci-archive:${file}`, "not-found", /several tags: 1\.0\.0, 2\.0\.0/);
  });

  test("its tag is another one", async () => {
    await expectRefused(`oci-archive:${await archive()}:2`, "not-found");
  });

  test("it is compressed", async () => {
    await expectRefused(`oci-archive:${await archive(["--gzip"])}`, "archive-invalid", /compressed/);
  });

  test("it is cut short, wherever", async () => {
    const file = await archive();
    const { length } = await readFile(file);
    for (const size of [0, 100, 512, 1500, Math.floor(length / 2)]) {
      await truncate(file, size);
      await writeFile(`${file}.cut`, (await readFile(file)).subarray(0, size));
      await expectRefused(`oci-archive:${file}.cut`, "archive-invalid", /cut short/);
      execFileSync("tar", ["-cf", file, "-C", set.directory, ...members]);
    }
  });

  test("it is no archive of a layout", async () => {
    await expectRefused(`oci-archive:${await archive([], ["index.json"])}`, "not-found", /oci-layout/);
  });

  test("a layer in it is altered", async () => {
    const file = await archive();
    const bytes = await readFile(file);
    const layer = largeOf(set).bytes;
    await writeFile(file, flipped(bytes, bytes.indexOf(layer.subarray(0, 4096)) + 100_000));
    await expectRefused(`oci-archive:${file}`, "digest-mismatch");
  });

  test("it has a symbolic link", async () => {
    const file = await archive();
    execFileSync("ln", ["-s", "/etc/passwd", join(work, "link")]);
    execFileSync("tar", ["-rf", file, "-C", work, "link"]);
    await expectRefused(`oci-archive:${file}`, "archive-invalid", /something else than files/);
  });

  test("it is written to meanwhile", async () => {
    const file = await archive();
    const { install } = openRepositories(parseReference(`oci-archive:${file}`));
    await install.manifest("1.0.0");
    await appendFile(file, "x");
    await expect(install.manifest("1.0.0")).rejects.toEqual(failsWith("archive-invalid", /changed while/));
  });

  test("another file takes its place", async () => {
    const file = await archive();
    const { install } = openRepositories(parseReference(`oci-archive:${file}`));
    await install.manifest("1.0.0");
    execFileSync("cp", [file, `${file}.new`]);
    await utimes(`${file}.new`, 1, 1);
    execFileSync("mv", [`${file}.new`, file]);
    await expect(install.manifest("1.0.0")).rejects.toEqual(failsWith("archive-invalid", /changed while/));
  });

  test("it is a pipe", async () => {
    const pipe = join(await temporaryDirectory(), "pipe");
    await run("mkfifo", [pipe]);
    await expectRefused(`oci-archive:${pipe}`, "archive-invalid", /not a regular file/);
  });
});
