// mosb image build with the real programs: the same disk twice, what is on it as foreign programs read it, and inputs
// that are not what the lock says.
import { copyFile, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MosError } from "../../src/errors/mos-error.ts";
import { type BuiltImage, buildImage } from "../../src/image/build-image.ts";
import { parseImageDescription } from "../../src/image/description.ts";
import { run } from "../../src/system/process.ts";
import { writeElf } from "../unit/elf/elf-writer.ts";
import { prepareImage } from "./image-fixture.ts";

let work: string;
let description: string;
let first: BuiltImage;
let second: BuiltImage;

const replaced = process.env["PATH"];

async function build(text: string, output: string, lock = "image.lock.json"): Promise<BuiltImage> {
  return await buildImage({
    ...{ description: parseImageDescription(text, "image.yaml"), baseDirectory: work },
    ...{ lockFile: join(work, lock), updateLock: false, keysets: join(work, "keys"), qcow2: output === "a" },
    ...{ outputDirectory: join(work, output), replace: false, epoch: undefined, onStep: () => undefined },
  });
}

async function refusal(text: string, lock = "other.lock.json"): Promise<MosError> {
  try {
    await build(text, "refused", lock);
  } catch (error) {
    if (error instanceof MosError) return error;
    throw error;
  }
  throw new Error("not refused");
}

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), "mos-image-"));
  description = await prepareImage(work);
  first = await build(description, "a");
  second = await build(description, "b");
}, 600_000);
afterAll(async () => {
  process.env["PATH"] = replaced;
  await rm(work, { recursive: true, force: true });
});

describe("two builds from one lock", () => {
  test("give the same disk, kernel image and SBOM, byte for byte", async () => {
    await run("cmp", [first.raw, second.raw]);
    await run("cmp", [first.installer ?? "", second.installer ?? ""]);
    for (const part of ["uki", "sbom"] as const)
      expect((await readFile(first[part])).equals(await readFile(second[part]))).toBe(true);
    const { qcow2: _, ...rest } = first;
    expect(second).toEqual({
      ...rest,
      ...{
        installer: second.installer,
        raw: second.raw,
        uki: second.uki,
        sbom: second.sbom,
        diskBytes: second.diskBytes,
      },
    });
  });

  test("are the same disk as qcow2", async () => {
    await run("qemu-img", ["check", "--quiet", first.qcow2 ?? ""]);
    const formats = ["-f", "raw", "-F", "qcow2"];
    const { stdout } = await run("qemu-img", ["compare", ...formats, first.raw, first.qcow2 ?? ""]);
    expect(stdout).toContain("Images are identical.");
  });

  test("list what the root has installed", async () => {
    const { packages } = JSON.parse(await readFile(first.sbom, "utf8"));
    expect(packages.length).toBe(first.packages + 1);
    expect(packages).toContainEqual(expect.objectContaining({ name: "systemd" }));
  });
});

describe("the disk", () => {
  /** Where a partition is, as sfdisk reads it. */
  async function partition(
    number: number,
  ): Promise<{ offset: number; size: number; type: string; uuid: string; name: string }> {
    const { stdout } = await run("sfdisk", ["--json", first.raw]);
    const { partitiontable } = JSON.parse(stdout);
    const { start, size, type, uuid, name } = partitiontable.partitions[number - 1];
    return { offset: start * 512, size: size * 512, type, uuid: uuid.toLowerCase(), name };
  }

  /** A partition in a file of its own. */
  async function extracted(number: number): Promise<string> {
    const { offset, size } = await partition(number);
    const to = join(work, `part${number}`);
    await run("dd", [
      ...[`if=${first.raw}`, `of=${to}`, "bs=1M", `skip=${offset / 1024 / 1024}`],
      ...[`count=${size / 1024 / 1024}`, "conv=sparse", "status=none"],
    ]);
    return to;
  }

  test("has partitions by which root and hash tree belong to the root hash", async () => {
    expect((await partition(2)).uuid.replaceAll("-", "")).toBe(first.rootHash.slice(0, 32));
    expect((await partition(3)).uuid.replaceAll("-", "")).toBe(first.rootHash.slice(32));
    expect((await partition(2)).type.toLowerCase()).toBe("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
    const names = await Promise.all([1, 2, 3, 4, 5].map(async (one) => (await partition(one)).name));
    expect(names).toEqual(["esp", "mos-root", "mos-root-verity", "mos-swap", "mos-state"]);
    expect((await run("sfdisk", ["--verify", first.raw])).stdout).toContain("No errors detected");
  });

  test("has a root that veritysetup verifies by the root hash of the command line", async () => {
    expect(first.commandLine).toMatch(new RegExp(`^roothash=${first.rootHash} .*console=ttyS0$`));
    const [root, tree] = [await extracted(2), await extracted(3)];
    await run("veritysetup", ["verify", root, tree, first.rootHash]);
    const { stdout } = await run("fsck.erofs", ["--extract", root], { accept: [0, 1] });
    expect(stdout).not.toContain("corrupt");
  });

  test("has a system partition with a signed loader and an image whose tries are counted", async () => {
    const esp = await extracted(1);
    const { stdout } = await run("mdir", ["-/", "-b", "-i", esp, "::"]);
    expect(
      stdout
        .trim()
        .split("\n")
        .filter((line) => !line.endsWith("/"))
        .sort(),
    ).toEqual(["::/EFI/BOOT/BOOTX64.EFI", "::/EFI/Linux/demo_1+3.efi", "::/loader/loader.conf"]);
    await run("mcopy", ["-i", esp, "::/EFI/Linux/demo_1+3.efi", join(work, "uki.efi")]);
    expect((await readFile(join(work, "uki.efi"))).equals(await readFile(first.uki))).toBe(true);
    await run("fsck.vfat", ["-n", esp]);
  });

  test("has a swap area, and at its end, where it can grow, an empty file system for state", async () => {
    expect((await run("blkid", ["-o", "value", "-s", "TYPE", await extracted(4)])).stdout.trim()).toBe(
      "swap",
    );
    expect((await run("blkid", ["-o", "value", "-s", "LABEL", await extracted(5)])).stdout.trim()).toBe(
      "mos-state",
    );
    await run("e2fsck", ["-fn", await extracted(5)]);
  });

  test("for an installer is an optical disc as well, and still a whole disk", async () => {
    const medium = first.installer ?? "";
    const { stdout } = await run("blkid", ["-p", "-n", "iso9660", "-o", "export", medium]);
    expect(stdout).toContain("LABEL=MOS_INSTALL\n");
    expect(stdout).toMatch(/^BOOT_SYSTEM_ID=EL\\ TORITO/m);
    expect((await run("sfdisk", ["--verify", medium])).stdout).toContain("No errors detected");
  });
});

describe("a build", () => {
  test("from other inputs than the lock says is refused, with what differs", async () => {
    const splash = description.replace("boot: {", "boot: {splash: sd-boot.efi, ");
    await copyFile(first.lock, join(work, "changed.lock.json"));
    const lock = JSON.parse(await readFile(first.lock, "utf8"));
    lock.files["sd-boot.efi"] = `sha256:${"0".repeat(64)}`;
    await writeFile(join(work, "changed.lock.json"), JSON.stringify(lock));
    const error = await refusal(splash, "changed.lock.json");
    expect(error.code).toBe("image-lock-mismatch");
    expect(error.problems).toEqual([expect.stringMatching(/^file sd-boot\.efi: sha256:0{64} → sha256:/)]);
    await expect(stat(join(work, "refused/demo_1.raw"))).rejects.toThrow("ENOENT");
  });

  test("does not write over what is there", async () => {
    await expect(build(description, "a")).rejects.toThrow(expect.objectContaining({ code: "output-exists" }));
  });

  async function smallRoot(name: string): Promise<string> {
    const root = join(work, name);
    await mkdir(join(root, "sbin"), { recursive: true });
    await mkdir(join(root, "usr/lib"), { recursive: true });
    await writeFile(join(root, "usr/lib/os-release"), "ID=test\n");
    return description.replace(/"rootfs:[^"]*"/, `"rootfs:${root}"`);
  }

  test("of a root whose PID 1 could not start fails with the library's name", async () => {
    const text = await smallRoot("foreign");
    const init = { interpreter: "/lib64/ld-linux-x86-64.so.2", needed: ["libsystemd-shared-250.so"] };
    await writeFile(join(work, "foreign/sbin/init"), writeElf(init), { mode: 0o755 });
    await mkdir(join(work, "foreign/lib64"));
    await writeFile(join(work, "foreign/lib64/ld-linux-x86-64.so.2"), writeElf({}));
    const error = await refusal(text);
    expect(error.code).toBe("program-unresolved");
    expect(error.message).toBe(
      "cannot run /sbin/init in the root of the image: it needs libsystemd-shared-250.so, which that root does not have",
    );
  });

  test("writes nothing outside of a root whose directories are links", async () => {
    const text = await smallRoot("links");
    await writeFile(join(work, "links/sbin/init"), "an init", { mode: 0o755 });
    await mkdir(join(work, "outside"));
    await symlink(join(work, "outside"), join(work, "links/etc"));
    const error = await refusal(text);
    expect(error.code).toBe("image-root-unusable");
    expect(error.message).toContain("/etc/hostname into the root: it is below a link that leads nowhere");
    expect((await run("ls", ["-A", join(work, "outside")])).stdout).toBe("");
  });

  test("takes a root from an OCI image with tar layers, and looks into that", async () => {
    const layout = join(work, "os-image");
    await smallRoot("imaged");
    await writeFile(join(work, "imaged/sbin/init"), "#!/bin/no-such-shell\n", { mode: 0o755 });
    await run("umoci", ["init", "--layout", layout]);
    await run("umoci", ["new", "--image", `${layout}:1`]);
    await run("umoci", ["insert", "--image", `${layout}:1`, join(work, "imaged"), "/"]);
    const error = await refusal(description.replace(/"rootfs:[^"]*"/, '"oci:os-image:1"'));
    expect(error.message).toBe(
      "cannot run /sbin/init in the root of the image: its interpreter /bin/no-such-shell is not there",
    );
  });

  test("with an encrypted state, of a root that cannot encrypt, fails with what it lacks", async () => {
    const error = await refusal(description.replace("swap: 16M", "encrypt: tpm2"));
    expect(error.code).toBe("image-root-unusable");
    expect(error.message).toBe("cannot make a system that encrypts its state: the root lacks mos");
  });

  test("of a root without a kernel fails, and leaves nothing behind", async () => {
    const text = await smallRoot("bare");
    await writeFile(join(work, "bare/sbin/init"), "an init", { mode: 0o755 });
    expect((await refusal(text)).code).toBe("image-root-unusable");
    expect((await run("ls", ["-A", join(work, "refused")])).stdout).toBe("");
  });
});
