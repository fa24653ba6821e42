// Paths that are to stay read-only, looked for in the root that a target comes with: a service would not start with one
// that is not there, and a mistake of spelling would leave the right one writable.
import { lstatSync } from "node:fs";
import { join } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import type { ImportTarget } from "../manifest/schema.ts";

/** What stands in the way of one path; undefined when it is there, with no symlink on the way. */
function obstacle(tree: string, path: string): string | undefined {
  const parts = path.split("/").slice(1);
  for (let end = 1; end <= parts.length; end++) {
    const here = `/${parts.slice(0, end).join("/")}`;
    try {
      if (lstatSync(join(tree, here)).isSymbolicLink()) return `${here} is a symlink`;
    } catch (error) {
      if (!["ENOENT", "ENOTDIR"].includes(systemCode(error) ?? "")) throw error;
      return `there is no ${here}`;
    }
  }
  return undefined;
}

/**
 * Refuses a target whose `security.read_only_paths` are not files or directories of its root.
 * @param tree directory of that root
 * @throws MosError `source-invalid`
 */
export function checkReadOnlyPaths({ service_name, source, security }: ImportTarget, tree: string): void {
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
