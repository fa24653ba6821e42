// A root as two layers, with real trees: what the upper one has over the lower one, mounted as an overlay by this
// machine's kernel, is the whole tree again.
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { LayerMember } from "../../src/archives/layer-tar.ts";
import { tarEnd, tarMember, tarPadding } from "../../src/archives/tar-write.ts";
import { makeUpperTree, splitRoot } from "../../src/image/split-root.ts";
import { readTree, type TreeEntries } from "../../src/image/tree-entries.ts";
import { packLayer } from "../../src/layers/pack.ts";
import { run } from "../../src/system/process.ts";

let work: string;
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), "mos-split-"));
});
afterAll(async () => {
  await rm(work, { recursive: true, force: true });
});

interface Thing extends Partial<Omit<LayerMember, "path" | "xattrs">> {
  readonly content?: string;
  readonly xattrs?: Readonly<Record<string, string>>;
}

const directory: Thing = { type: "directory", mode: 0o755 };
const text = (content: string, more: Thing = {}): Thing => ({ type: "file", mode: 0o644, content, ...more });

/** Unpacks these into a directory, as tar does with everything that they have. */
async function makeTree(name: string, things: Readonly<Record<string, Thing>>): Promise<string> {
  const tree = join(work, name);
  await mkdir(tree);
  const pieces = Object.entries(things).flatMap(([path, { content = "", xattrs = {}, ...more }]) => {
    const bytes = Buffer.from(content);
    const member: LayerMember = {
      ...{ type: "file", path, target: "", mode: 0o644, uid: 0, gid: 0, major: 0, minor: 0 },
      ...{ mtime: 1_000_000, size: bytes.length, ...more },
      xattrs: new Map(Object.entries(xattrs).map(([key, value]) => [key, Buffer.from(value, "hex")])),
    };
    return [tarMember(member), bytes, tarPadding(bytes.length)];
  });
  const archive = `${tree}.tar`;
  await writeFile(archive, Buffer.concat([...pieces, tarEnd]));
  const keep = ["--same-owner", "--preserve-permissions", "--xattrs", "--xattrs-include=*"];
  await run("tar", ["--extract", "--file", archive, "--directory", tree, ...keep]);
  return tree;
}

/** What an overlay of both directories is. */
async function overlaid(lower: string, upper: string): Promise<string> {
  const copy = await mkdtemp(join(work, "merged-"));
  const script = `mkdir "$3/mount" && mount -t overlay -o "lowerdir=$2:$1" overlay "$3/mount" && cp -a "$3/mount" "$3/tree"`;
  await run("unshare", [
    ...["--mount", "--propagation", "private", "sh", "-ec", script, "sh"],
    ...[lower, upper, copy],
  ]);
  return join(copy, "tree");
}

function identities(entries: TreeEntries): Readonly<Record<string, string>> {
  return Object.fromEntries([...entries].map(([path, { identity }]) => [path, identity]));
}

async function paths(tree: string): Promise<readonly string[]> {
  return [...(await readTree(tree)).keys()].sort();
}

// vfs_cap_data with cap_net_raw, revision 2 (capabilities(7)).
const mayPing = { "security.capability": "0100000200200000000000000000000000000000" };

const before: Readonly<Record<string, Thing>> = {
  usr: directory,
  "usr/same": text("same"),
  "usr/changed": text("before"),
  "usr/owner": text("of root"),
  "usr/mode": text("644"),
  "usr/ping": text("a program", { mode: 0o755 }),
  "usr/removed": text("removed"),
  "usr/doc": directory,
  "usr/doc/a": text("a"),
  "usr/doc/b": text("b"),
  "usr/replaced": directory,
  "usr/replaced/old": text("old"),
  "usr/replaced/both": text("both"),
  "usr/to-file": directory,
  "usr/to-file/in": text("in"),
  "usr/to-directory": text("a file"),
  "usr/to-link": text("a file"),
  "usr/link": { type: "symlink", target: "same" },
  "usr/link-same": { type: "symlink", target: "same" },
  "usr/one": text("two names"),
  "usr/other": { type: "hardlink", target: "usr/one" },
  "usr/three": text("more names"),
  "usr/four": { type: "hardlink", target: "usr/three" },
  "usr/pipe": { type: "fifo" },
  "usr/null": { type: "char", major: 1, minor: 3, mode: 0o666 },
  var: directory,
  "var/mail": { ...directory, mode: 0o2775, gid: 8 },
};

const { "usr/removed": _gone, "usr/doc": _doc, "usr/doc/a": _a, "usr/doc/b": _b, ...kept } = before;
const { "usr/replaced/old": _old, "usr/to-file/in": _in, ...stays } = kept;
const after: Readonly<Record<string, Thing>> = {
  ...stays,
  "usr/changed": text("after!"),
  "usr/owner": text("of root", { uid: 1000, gid: 1000 }),
  "usr/mode": text("644", { mode: 0o4755 }),
  "usr/ping": text("a program", { mode: 0o755, xattrs: mayPing }),
  "usr/replaced": { ...directory, mode: 0o700 },
  "usr/replaced/new": text("new"),
  "usr/to-file": text("now a file"),
  "usr/to-directory": directory,
  "usr/to-directory/in": text("in"),
  "usr/to-link": { type: "symlink", target: "/nowhere" },
  "usr/link": { type: "symlink", target: "changed" },
  "usr/four": text("more names"),
  "usr/five": { type: "hardlink", target: "usr/one" },
  "usr/null": { type: "char", major: 1, minor: 5, mode: 0o666 },
  "etc/deep/er/new": text("new"),
};

describe("a root of two layers", () => {
  let lower: string;
  let whole: string;
  let upper: string;
  beforeAll(async () => {
    lower = await makeTree("before", before);
    whole = await makeTree("after", after);
    upper = join(work, "upper");
    await makeUpperTree(lower, whole, upper);
  });

  test("is the whole tree when they are mounted over each other", async () => {
    const merged = await readTree(await overlaid(lower, upper));
    expect(identities(merged)).toEqual(identities(await readTree(whole)));
  });

  test("has in the upper one what is other, and nothing that is the same", async () => {
    const { stdout } = await run("find", [upper, "-printf", "%P %y\n"]);
    const found = stdout.trim().split("\n").sort();
    for (const same of ["usr/same f", "usr/link-same l", "usr/pipe p", "usr/replaced/both f", "var/mail d"])
      expect(found).not.toContain(same);
    for (const other of [
      "usr/changed f",
      "usr/owner f",
      "usr/mode f",
      "usr/ping f",
      "usr/link l",
      "usr/replaced d",
    ])
      expect(found).toContain(other);
    // Names of one file stay that, and those that are none any more are two files.
    for (const linked of ["usr/one f", "usr/other f", "usr/five f", "usr/three f", "usr/four f"])
      expect(found).toContain(linked);
    const inode = async (path: string): Promise<number> => (await stat(join(upper, path))).ino;
    expect(await inode("usr/five")).toBe(await inode("usr/one"));
    expect(await inode("usr/four")).not.toBe(await inode("usr/three"));
  });

  test("tells with a device 0/0 what is gone, a directory with one", async () => {
    const { stdout } = await run("find", [upper, "-type", "c", "-printf", "%P\n"]);
    const devices = stdout.trim().split("\n").sort();
    expect(devices).toEqual(["usr/doc", "usr/null", "usr/removed", "usr/replaced/old"]);
    expect((await stat(join(upper, "usr/removed"))).rdev).toBe(0);
    expect((await stat(join(upper, "usr/null"))).rdev).not.toBe(0);
  });

  test("is the same bytes each time, and its layers are still that when they are packed", async () => {
    const split = async (name: string) => {
      const directory = join(work, name);
      await mkdir(directory);
      return await splitRoot({ lower, whole, compression: "lz4", work: directory });
    };
    const [one, two] = [await split("one"), await split("two")];
    expect(two.map(({ descriptor }) => descriptor)).toEqual(one.map(({ descriptor }) => descriptor));
    const trees: string[] = [];
    for (const [i, { path }] of one.entries()) {
      const tree = join(work, `unpacked${i}`);
      await run("fsck.erofs", [`--extract=${tree}`, "--preserve-owner", "--preserve-perms", path]);
      trees.push(tree);
    }
    expect(await paths(await overlaid(trees[0] ?? "", trees[1] ?? ""))).toEqual(await paths(whole));
  });

  test("shares its lower layer with another whole tree, and with the tree alone", async () => {
    const directory = join(work, "other");
    await mkdir(directory);
    const other = await makeTree("other-release", { ...before, "usr/release": text("2") });
    const [layer] = await splitRoot({ lower, whole: other, compression: "lz4", work: directory });
    const alone = await packLayer({
      ...{ source: { kind: "directory", path: lower }, format: "erofs", compression: "lz4" },
      workDirectory: directory,
    });
    expect(layer?.descriptor).toEqual(alone.descriptor);
    const bytes = await readFile(alone.path);
    expect(`sha256:${createHash("sha256").update(bytes).digest("hex")}`).toBe(alone.descriptor.digest);
  }, 600_000);

  test.each([
    ["a device 0/0", { mark: { type: "char" } as Thing }],
    ["an attribute of overlays", { mark: { ...directory, xattrs: { "trusted.overlay.opaque": "79" } } }],
  ])("is not made of a tree with %s, which an overlay would take for a mark", async (what, thing) => {
    const tree = await makeTree(`with ${what.replaceAll("/", "-")}`, { ...before, ...thing });
    await expect(makeUpperTree(lower, tree, join(work, `upper ${what.length}`))).rejects.toThrow(
      expect.objectContaining({ code: "image-root-unusable" }),
    );
  });
});
