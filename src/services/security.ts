// What a service may do: strict, but for what its manifest loosens by name.
import type { Target } from "../manifest/schema.ts";
import { type Entry, raw } from "../systemd/unit-file.ts";

/**
 * What a service may do as root of its own namespace: own and read its files, drop to another user, signal its
 * children, and listen below port 1024. Everything else is taken away.
 */
export const defaultCapabilities: readonly string[] = [
  "CHOWN",
  "DAC_OVERRIDE",
  "FOWNER",
  "FSETID",
  "KILL",
  "NET_BIND_SERVICE",
  "SETGID",
  "SETUID",
];

/** Lines of the [Container] section. */
export function securityEntries({ security }: Target): Entry[] {
  const { add = [], drop = [] } = security?.capabilities ?? {};
  const dropped: ReadonlySet<string> = new Set(drop);
  const kept = [...new Set([...defaultCapabilities, ...add])].filter((name) => !dropped.has(name)).sort();
  return [
    ["DropCapability", raw("all")],
    ...(kept.length === 0
      ? []
      : [["AddCapability", raw(kept.map((name) => `CAP_${name}`).join(" "))] as const]),
    ["NoNewPrivileges", raw(`${security?.no_new_privileges ?? true}`)],
    ...(security?.seccomp === "unconfined" ? [["SeccompProfile", raw("unconfined")] as const] : []),
    ...(security?.read_only === true ? [["ReadOnly", raw("true")] as const] : []),
    ...(security?.devices ?? []).map(
      ({ path, access = "rw" }): Entry => ["AddDevice", raw(`${path}:${path}:${access}`)],
    ),
  ];
}
