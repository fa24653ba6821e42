// Rules about paths of a root that stay read-only: each is a mount of its own, so nothing else can be mounted there.
import { duplicates, type Problem } from "./problem.ts";
import type { ImportManifest, InstallManifest } from "./schema.ts";

type AnyTarget = (InstallManifest | ImportManifest)["targets"][number];

/** What is made anew for each container (podman-run(1)), and so is not of its root; secrets are in /run too. */
const notOfTheRoot = ["/dev", "/proc", "/run", "/sys"];

function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

/** Where a service has something mounted in its root, and what, for people. */
function mountsOf({ storage, mounts = [], files = [] }: AnyTarget) {
  return [
    ...storage.map(({ dest, label }) => ({ dest, what: `the volume ${label}` })),
    ...mounts.map(({ dest, service }) => ({ dest, what: `the root of ${service}` })),
    ...files.map(({ dest }, j) => ({ dest, what: `the file of files.${j}` })),
  ];
}

/** Violations of one target, the `i`-th. */
export function readOnlyProblems(target: AnyTarget, i: number): Problem[] {
  const paths = target.security?.read_only_paths ?? [];
  if (paths.length === 0) return [];
  const at = ["targets", i, "security", "read_only_paths"];
  if (target.security?.read_only === true)
    return [{ path: at, message: "says nothing: with read_only the whole root is read-only" }];
  const keys = paths.map((key, j) => ({ key, path: [...at, j], owner: `read_only_paths.${j}` }));
  return [
    ...duplicates(keys, (key, first) => `${key} is already ${first}`),
    ...keys.flatMap(({ key, path }): Problem[] => {
      const anew = notOfTheRoot.find((directory) => isWithin(key, directory));
      if (anew !== undefined)
        return [{ path, message: `${anew} is made anew for each service and is not of its root` }];
      const outer = paths.find((other) => other !== key && isWithin(key, other));
      if (outer !== undefined)
        return [{ path, message: `${key} is in ${outer}, which is read-only already` }];
      const other = mountsOf(target).find(({ dest }) => isWithin(key, dest) || isWithin(dest, key));
      return other === undefined
        ? []
        : [{ path, message: `${key} overlaps ${other.dest}, where ${other.what} is mounted` }];
    }),
  ];
}
