// Programs of the tools root (Debian trixie), each in a change root with the work directory at /machine. The mounts
// are made once, in a namespace that one waiting process keeps: a measured run has only to enter it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

const prepare = `set -e
root=$1
mount --bind "$2" "$root/machine"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t sysfs sys "$root/sys"
for name in tmp run var/tmp; do mount -t tmpfs tmpfs "$root/$name"; done
cp /etc/hosts "$root/run/hosts"
exec chroot "$root" sh -c 'echo ready; exec cat'
`;

export class Peers implements AsyncDisposable {
  private readonly root: string;
  private readonly holder: ChildProcess;

  private constructor(root: string, holder: ChildProcess) {
    this.root = root;
    this.holder = holder;
  }

  static async open(root: string, work: string): Promise<Peers> {
    const holder = spawn(
      "unshare",
      ["--mount", "--propagation", "private", "sh", "-c", prepare, "sh", root, work],
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    const said: unknown = await Promise.race([once(holder.stdout, "data"), once(holder, "close")]);
    if (!String(said).startsWith("ready")) throw new Error(`cannot make the mounts below ${root}`);
    return new Peers(root, holder);
  }

  /** A command in the tools root. Entering it costs about a millisecond: compare with that of `true`. */
  command(...argv: readonly string[]): string[] {
    return ["nsenter", `--target=${this.holder.pid}`, "--mount", "--root", ...argv];
  }

  /** A program of the tools root on this machine's own files, by the libraries that belong to it. */
  onHost(program: string): string[] {
    const libraries = join(this.root, "usr/lib/x86_64-linux-gnu");
    const loader = join(this.root, "lib64/ld-linux-x86-64.so.2");
    return [loader, "--library-path", libraries, join(this.root, "usr/bin", program)];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.holder, "close");
    this.holder.stdin?.end();
    await closed;
  }
}
