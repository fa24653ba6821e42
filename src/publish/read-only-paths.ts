// Paths that are to stay read-only, looked for in the root that a target comes with: a service would not start with one
// that is not there, and a mistake of spelling would leave the right one writable.
import type { RootTree } from "../elf/root-tree.ts";
import { MosError } from "../errors/mos-error.ts";
import type { ImportTarget } from "../manifest/schema.ts";

/** What stands in the way of one path; undefined when it is there, with no symlink on the way. */
function obstacle(tree: RootTree, path: string): string | undefined {
  const parts = path.split("/").slice(1);
  for (let end = 1; end <= parts.length; end++) {
    const here = `/${parts.slice(0, end).join("/")}`;
    const found = tree.find(here);
    if (found === undefined) return `there is no ${here}`;
    if (found.path !== here) return `${here} is a symlink`;
  }
  return undefined;
}

/**
 * Refuses a target whose `security.read_only_paths` are not files or directories of its root.
 * @param tree that root
 * @throws MosError `source-invalid`, `permission-denied`, `io-failed`
 */
export function checkReadOnlyPaths({ service_name, source, security }: ImportTarget, tree: RootTree): void {
  for (const path of security?.read_only_paths ?? []) {
    const why = obstacle(tree, path);
    if (why === undefined) continue;
    throw new MosError(
      "source-invalid",
      `cannot keep ${path} of ${service_name} read-only: in its root ${why}`,
      {
        about: source,
        hint: "List files and directories of the root in security.read_only_paths, by the path where they really are.",
      },
    );
  }
}
