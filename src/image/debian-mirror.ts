// Where this machine gets Debian's packages from: what apt is configured with, so that nothing here names a host.
import { MosError } from "../errors/mos-error.ts";
import { run } from "../system/process.ts";

/**
 * The first mirror in apt's own sources for one of these codenames (apt-get(8), `indextargets`).
 * @throws MosError `source-invalid` when there is none
 */
export async function aptMirror(codenames: RegExp): Promise<string> {
  const format = ["--format", "$(REPO_URI) $(CODENAME) $(ORIGIN)", "Created-By: Packages"];
  const { stdout } = await run("apt-get", ["indextargets", ...format]);
  for (const line of stdout.split("\n")) {
    const [uri, name, origin] = line.split(" ");
    if (uri !== undefined && name !== undefined && origin === "Debian" && codenames.test(name)) return uri;
  }
  throw new MosError("source-invalid", "cannot find a mirror of Debian's packages in apt's own sources", {
    about: "apt-get indextargets",
    hint: "Run apt-get update, or name the mirror: root.debian.mirror in the description of the image.",
  });
}
