// Paths of a writable root that stay read-only: the root's own file or directory, mounted over itself. Owners are those of
// the root, which is id-mapped already.
import type { Target } from "../manifest/schema.ts";
import { command, type Entry, raw } from "../systemd/unit-file.ts";
import { type Places, rootMount } from "./unit-names.ts";

function pathsOf({ security }: Target): readonly string[] {
  return security?.read_only_paths ?? [];
}

/**
 * What the overlay of the root needs to be told (kernel: filesystems/overlayfs.rst): without redirects a directory that
 * comes from a layer cannot be renamed, so nobody puts another one where a read-only path was; without an index a
 * file has no second name by which it could be written.
 */
export function readOnlyOverlay(target: Target): string {
  return pathsOf(target).length === 0 ? "" : ",redirect_dir=off,index=off";
}

/**
 * Lines of the [Container] section. podman refuses what is not there. `suid`: what the root allows, which is nothing more
 * than no_new_privileges lets it.
 */
export function readOnlyEntries(target: Target, places: Places): Entry[] {
  const root = rootMount(places, target.service_name);
  return pathsOf(target).map((path): Entry => ["Volume", raw(`${root}${path}:${path}:ro,suid,nodev`)]);
}

/**
 * Lines of the [Service] section: a symlink would be followed on the device, out of the root, so there must be none. The
 * root is as it was made or as the service has left it, and no path can become one while it is read-only.
 */
export function readOnlyChecks(target: Target, places: Places): Entry[] {
  const root = rootMount(places, target.service_name);
  const links = new Set(
    pathsOf(target).flatMap((path) => {
      const parts = path.split("/").slice(1);
      return parts.map((_, i) => `${root}/${parts.slice(0, i + 1).join("/")}`);
    }),
  );
  return [...links].sort().map((path): Entry => ["ExecStartPre", command("test", "!", "-L", path)]);
}
