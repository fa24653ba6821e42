// Programs that only Debian trixie has, as if they were installed here: a directory for PATH with a script for each,
// which runs the one of the tools root. They are called in, and see, the temporary directory only.
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

// An overlay over the tools root, which stays as it is, with the temporary directory at its own path; mounted in a
// namespace that ends with the program. Arguments: tools root, temporary directory, where it is called, program, …
const script = (tools: string, program: string): string => `#!/bin/bash
exec unshare --mount --propagation slave bash -c '
set -e
tools=$1 shared=$2 here=$3; shift 3
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$tools,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
mkdir -p "/mnt/root$shared" "/mnt/root$here"
mount --bind "$shared" "/mnt/root$shared"
mount --bind /dev /mnt/root/dev
mount -t proc proc /mnt/root/proc
exec chroot /mnt/root env --chdir="$here" PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
' trixie '${tools}' '${tmpdir()}' "$PWD" '${program}' "$@"
`;

/**
 * @param tools the tools root
 * @param directory below the temporary directory; the scripts go to `bin` in it
 * @param programs names, or paths in the tools root of those that are not in PATH there
 * @returns PATH with the scripts first
 */
export async function trixiePrograms(
  tools: string,
  directory: string,
  programs: readonly string[],
): Promise<string> {
  const bin = join(directory, "bin");
  await mkdir(bin, { recursive: true });
  for (const program of programs) {
    const path = join(bin, basename(program));
    await writeFile(path, script(tools, program));
    await chmod(path, 0o755);
  }
  return `${bin}:${process.env["PATH"]}`;
}
