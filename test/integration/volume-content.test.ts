// Volumes as archives and back, with the real tar: owners follow the range of the nsgroup, and what is refused changes
// nothing.

import { createReadStream, createWriteStream } from "node:fs";
import { chmod, chown, link, mkdir, readFile, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { MosError } from "../../src/errors/mos-error.ts";
import { run } from "../../src/system/process.ts";
import { readContent, writeContent } from "../../src/volumes/content.ts";
import { temporaryDirectory } from "../support.ts";
import { type Made, tarOf } from "../unit/archives/tar-maker.ts";
import { isRoot } from "./layers-fixture.ts";

const [here, there] = [100_000, 3_000_000];

/** A volume with something of everything, owned by ids of the range that begins at `first`. */
async function makeVolume(first: number): Promise<string> {
  const volume = await temporaryDirectory();
  await chown(volume, first, first);
  await chmod(volume, 0o755);
  await mkdir(join(volume, "a/deep"), { recursive: true });
  await writeFile(join(volume, "a/deep/file"), "content");
  await writeFile(join(volume, `a/${"long ".repeat(40)}`), "x".repeat(5000));
  await link(join(volume, "a/deep/file"), join(volume, "a/same"));
  await symlink("/nowhere", join(volume, "link"));
  await writeFile(join(volume, "ünï"), "");
  // Half a character at the end of the header's field.
  await writeFile(join(volume, `a/x${"ü".repeat(80)}`), "");
  await run("find", [
    volume,
    "-mindepth",
    "1",
    "-exec",
    "chown",
    "-h",
    `${first + 33}:${first + 44}`,
    "{}",
    "+",
  ]);
  await chown(join(volume, "ünï"), first + 65_535, first);
  await chmod(join(volume, "ünï"), 0o4751);
  await utimes(join(volume, "a/deep/file"), 1_000_000_000, 1_000_000_000.25);
  return volume;
}

async function listing(volume: string, first: number): Promise<string[]> {
  const { stdout } = await run("find", [volume, "-printf", "%P|%y|%#m|%U|%G|%l|%T@|%n\\n"]);
  return stdout
    .split("\n")
    .map((line) => line.split("|"))
    .map(([path, type, mode, uid, gid, target, time, links]) => {
      const owner = `${Number(uid) - first}:${Number(gid) - first}`;
      return [path, type, mode, owner, target, type === "f" ? `${time} ${links}` : ""].join(" ");
    })
    .sort();
}

async function exported(volume: string, first: number | undefined): Promise<string> {
  const file = join(await temporaryDirectory(), "volume.tar");
  const out = createWriteStream(file);
  await readContent(volume, first, out);
  await new Promise<void>((resolve) => void out.end(resolve));
  return file;
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => "done",
    (error: unknown) => (error instanceof MosError ? error.code : `${error}`),
  );
}

async function tarFile(members: readonly Made[], cut?: number): Promise<string> {
  const file = join(await temporaryDirectory(), "made.tar");
  await writeFile(file, tarOf(members).subarray(0, cut));
  return file;
}

describe.runIf(isRoot)("what is in a volume", () => {
  it("comes to another device as it was, with the owners of the range there", async () => {
    const volume = await makeVolume(here);
    const file = await exported(volume, here);
    const other = await temporaryDirectory();
    await writeFile(join(other, "old"), "old");
    await writeContent(other, there, createReadStream(file));
    expect(await listing(other, there)).toEqual(await listing(volume, here));
    expect(await readFile(join(other, "a/same"), "utf8")).toBe("content");
  });

  it("is an archive with the owners that services see", async () => {
    const file = await exported(await makeVolume(there), there);
    const { stdout } = await run("tar", ["--list", "--numeric-owner", "--verbose", "--file", file]);
    expect(stdout).toMatch(/ 33\/44 .* \.\/a\/deep\/file$/m);
    expect(stdout).toMatch(/^-rws.* 65535\/0 /m);
  });

  it("of the host's own ids stays as it is", async () => {
    const volume = await makeVolume(0);
    const other = await temporaryDirectory();
    await writeContent(other, undefined, createReadStream(await exported(volume, undefined)));
    expect(await listing(other, 0)).toEqual(await listing(volume, 0));
  });

  it("is not exported with files of somebody outside of its nsgroup", async () => {
    const volume = await makeVolume(here);
    await chown(join(volume, "link"), 0, 0).catch(() => undefined);
    await writeFile(join(volume, "of-root"), "");
    expect(await codeOf(exported(volume, here))).toBe("archive-refused");
  });

  const broken: Readonly<Record<string, () => Promise<string>>> = {
    "an archive that is cut off": () => tarFile([{ path: "x", content: "x".repeat(5000) }], 1024),
    "no archive": async () => {
      const file = join(await temporaryDirectory(), "none");
      await writeFile(file, "no archive at all ".repeat(100));
      return file;
    },
    "an owner that no service can have": async () => {
      const volume = await temporaryDirectory();
      await writeFile(join(volume, "x"), "");
      await chown(join(volume, "x"), 70_000, 0);
      return await exported(volume, undefined);
    },
    "a header for all members (A21)": () =>
      tarFile([{ path: "g", type: "g", content: "11 path=x\n" }, { path: "y" }]),
  };
  for (const [what, make] of Object.entries(broken))
    it(`stays as it was when it is to be replaced by ${what}`, async () => {
      const volume = await makeVolume(here);
      const before = await listing(volume, here);
      const file = await make();
      expect(await codeOf(writeContent(volume, here, createReadStream(file)))).toBe("archive-refused");
      expect((await listing(volume, here)).filter((line) => line.includes("/"))).toEqual(
        before.filter((line) => line.includes("/")),
      );
      expect((await run("ls", ["-A", volume])).stdout).not.toContain(".mos-import");
    });

  it("cannot be written outside of the volume by an archive (A21)", async () => {
    const volume = await makeVolume(here);
    const outside = await temporaryDirectory();
    const file = await tarFile([
      { path: "out", type: "2", target: outside },
      { path: "out/evil", content: "evil" },
      { path: "../../../../../..".concat(outside, "/evil2"), content: "evil" },
      { path: `${outside}/evil3`, content: "evil" },
    ]);
    await codeOf(writeContent(volume, here, createReadStream(file)));
    expect((await run("ls", ["-A", outside])).stdout).toBe("");
  });
});
