// What a manifest that is sound does to surprise: each loosening of the strict defaults, and what will be missed on the
// day it matters. Pure; what makes a manifest unsound is in rules.ts.
import { isHostGroup } from "./names.ts";
import type { ImportManifest, ImportTarget, Target } from "./schema.ts";

export interface Finding {
  readonly path: readonly (string | number)[];
  /** `loosening`: the service may do more than it could. `surprise`: it works, and not as one may think. */
  readonly kind: "loosening" | "surprise";
  readonly message: string;
}

/** Everything worth saying, in the order of the manifest. */
export function lintManifest(manifest: ImportManifest): Finding[] {
  const volumes = manifest.storage.flatMap(({ label, persistent, enforce }, i): Finding[] => {
    const path = ["storage", i];
    const isUsed = manifest.targets.some(({ storage }) => storage.some((mount) => mount.label === label));
    return [
      ...(isUsed ? [] : [surprise([...path, "label"], `no service uses the volume ${label}`)]),
      ...(persistent && enforce !== true
        ? [
            surprise(
              [...path, "size"],
              `the size of ${label} is not enforced: when it grows it fills the device for all; say enforce: true for a new volume`,
            ),
          ]
        : []),
    ];
  });
  return [
    ...(manifest.release === undefined
      ? [
          surprise(
            ["version"],
            "without release.serial devices cannot tell an older manifest from a newer one",
          ),
        ]
      : []),
    ...volumes,
    ...manifest.targets.flatMap((target, i) =>
      target.service_type === "container" ? ofContainer(target, i, manifest) : [],
    ),
  ];
}

function surprise(path: Finding["path"], message: string): Finding {
  return { path, kind: "surprise", message };
}

function loosening(path: Finding["path"], message: string): Finding {
  return { path, kind: "loosening", message };
}

function ofContainer(target: ImportTarget, i: number, manifest: ImportManifest): Finding[] {
  const path = ["targets", i];
  return [...loosenings(target, path), ...surprises(target, path, manifest)];
}

/**
 * How a service is less strict than it could be.
 * @param path of the target in its manifest
 */
export function loosenings(
  { service_type, nsgroup, network, security, limits }: ImportTarget | Target,
  path: Finding["path"],
): Finding[] {
  if (service_type !== "container") return [];
  const at = [...path, "security"];
  const found: Finding[] = [];
  if (isHostGroup(nsgroup))
    found.push(
      loosening(
        [...path, "nsgroup"],
        "runs with the host's own ids: its root is root of the device, but for capabilities",
      ),
    );
  if (network.type === "host")
    found.push(
      loosening(
        [...path, "network", "type"],
        "uses the device's own network: every port, every local service",
      ),
    );
  for (const name of security?.capabilities?.add ?? [])
    found.push(loosening([...at, "capabilities", "add"], `may use the capability ${name}`));
  if (security?.seccomp === "unconfined")
    found.push(loosening([...at, "seccomp"], "may make any system call"));
  if (security?.no_new_privileges === false)
    found.push(loosening([...at, "no_new_privileges"], "may gain privileges from setuid programs"));
  for (const [j, device] of (security?.devices ?? []).entries())
    found.push(loosening([...at, "devices", j], `may use the device ${device.path}`));
  if ((limits?.pids ?? 0) > 2048)
    found.push(
      loosening([...path, "limits", "pids"], `may have ${limits?.pids} processes, more than the usual 2048`),
    );
  return found;
}

/** What looks like a secret in what everybody who has the manifest can read; `…_FILE` says where one is. */
const secretName = /(PASS|PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY)[^=]*=./i;

function surprises(target: ImportTarget, path: Finding["path"], manifest: ImportManifest): Finding[] {
  const { limits, health, run, network, image } = target;
  const mode = run?.mode ?? "service";
  const found: Finding[] = [];
  if (limits?.memory === undefined)
    found.push(
      surprise([...path, "service_name"], "has no limits.memory: it can use up the memory of the device"),
    );
  else if ((limits.scratch ?? 64) >= limits.memory)
    found.push(
      surprise([...path, "limits"], "its scratch counts as its memory, and could fill all of limits.memory"),
    );
  if (mode === "service" && health === undefined)
    found.push(
      surprise([...path, "service_name"], "has no health: an update is good as soon as it has started"),
    );
  for (const [j, variable] of (image?.env ?? []).entries())
    if (secretName.test(variable) && !/^[^=]*_FILE=/.test(variable))
      found.push(
        surprise(
          [...path, "image", "env", j],
          "looks like a secret, which everybody with the manifest can read; use secrets",
        ),
      );
  if (
    target.digest === undefined &&
    /^docker:.*:latest$|^docker:\/\/[^:@]+(:[0-9]+\/[^:@]+)?$/.test(target.source)
  )
    found.push(
      surprise(
        [...path, "source"],
        "is whatever the registry calls latest when it is published; name a version",
      ),
    );
  const unnamed = (target.depends_on ?? []).filter(
    ({ service, condition }) =>
      condition !== "completed" &&
      network.type === "simple" &&
      network.hosts?.includes(service) !== true &&
      manifest.targets.some((other) => other.service_name === service && other.network.type === "simple"),
  );
  for (const { service } of unnamed)
    found.push(
      surprise([...path, "depends_on"], `cannot find ${service} by its name: list it in network.hosts`),
    );
  return found;
}
