// What tests of layers share: a tree with something of everything, and what veritysetup says.
import { chmod, chown, link, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "../../src/oci/digest.ts";
import { run } from "../../src/system/process.ts";

/** Owners can be set, and archives unpacked with them. */
export const isRoot = process.geteuid?.() === 0;

/** A tree with something of everything, enough data for a verity tree of two levels. */
export async function makeTree(path: string): Promise<void> {
  await mkdir(join(path, "usr/bin"), { recursive: true });
  await mkdir(join(path, "empty"));
  let noise = Buffer.alloc(32);
  const pieces: Buffer[] = [];
  for (let at = 0; at < 800_000; at += 32) {
    noise = Buffer.from(digestOf(noise).slice(-64), "hex");
    pieces.push(noise);
  }
  await writeFile(join(path, "usr/bin/service"), Buffer.concat(pieces));
  await chmod(join(path, "usr/bin/service"), 0o755);
  await link(join(path, "usr/bin/service"), join(path, "usr/bin/service-2"));
  await writeFile(join(path, "name with 'quotes\" and\nnewline"), "odd");
  await writeFile(join(path, "-starts-with-a-dash"), "odd");
  await symlink("usr/bin", join(path, "bin"));
  if (isRoot) await chown(join(path, "usr/bin/service"), 33, 44);
  await chmod(join(path, "usr/bin/service"), 0o4755);
  if (isRoot) await chown(path, 5, 6);
  await chmod(path, 0o711);
}

export async function isAcceptedByVeritysetup(
  path: string,
  hashOffset: number,
  rootHash: string,
): Promise<boolean> {
  const args = ["verify", `--hash-offset=${hashOffset}`, path, path, rootHash];
  const { exitCode } = await run("/usr/sbin/veritysetup", args, { accept: [0, 1, 2, 4] });
  return exitCode === 0;
}
