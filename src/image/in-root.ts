// Runs a program inside the root that is being built. Mounts are in a namespace that ends with the program, so that
// nothing can stay mounted, and every process that it leaves behind ends with it too.
import { type RunResult, run } from "../system/process.ts";

// Arguments: root, SOURCE_DATE_EPOCH, program, …
const script = `set -e
root=$1 epoch=$2; shift 2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for directory in tmp var/tmp run; do mount -t tmpfs tmpfs "$root/$directory"; done
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root \\
  DEBIAN_FRONTEND=noninteractive "SOURCE_DATE_EPOCH=$epoch" "$@"
`;

const timeoutMs = 30 * 60_000;

/**
 * Runs a program of a root in it.
 * @param epoch seconds; what is made then has no other time
 * @throws MosError `program-failed`, `program-missing`
 */
export async function runInRoot(root: string, epoch: number, argv: readonly string[]): Promise<RunResult> {
  const namespaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL"];
  return await run(
    "unshare",
    [...namespaces, "/bin/sh", "-c", script, "in-root", root, String(epoch), ...argv],
    { timeoutMs },
  );
}
