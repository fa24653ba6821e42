// Rules that concern several fields of a manifest at once. They are the same when a manifest is published and
// when a device reads it; each violation is reported, with the path of the field to mend.
import { type Cidr, formatAddress, formatSubnet, overlap, subnetBounds } from "./address.ts";
import { isHostGroup } from "./names.ts";
import { addressesOn, automaticIpv6, fixedAddresses, networksOf } from "./networks.ts";
import { duplicates, type Problem } from "./problem.ts";
import type { ImportManifest, InstallManifest } from "./schema.ts";
import { secretProblems } from "./secret-rules.ts";
import { serviceProblems } from "./service-rules.ts";

type AnyManifest = InstallManifest | ImportManifest;
type AnyTarget = AnyManifest["targets"][number];

/** All violations of the rules that need more than one field. An empty list means that the manifest is sound. */
export function checkRules(manifest: AnyManifest): Problem[] {
  return [
    ...uniqueNames(manifest),
    ...uniqueLabels(manifest),
    ...publishedPorts(manifest),
    ...addresses(manifest),
    ...subnets(manifest),
    ...mounts(manifest),
    ...onlyContainersRun(manifest),
    ...secretProblems(manifest),
    ...serviceProblems(manifest),
    ...probes(manifest),
    ...partialKeepsTrust(manifest),
    ...trustInHigherEpoch(manifest),
    ...rolloutBegins(manifest),
  ];
}

function uniqueNames({ targets }: AnyManifest): Problem[] {
  return duplicates(
    targets.map((t, i) => ({
      key: t.service_name,
      path: ["targets", i, "service_name"],
      owner: `targets.${i}`,
    })),
    (name, first) => `the service name ${name} is already used by ${first}`,
  );
}

function uniqueLabels({ storage }: AnyManifest): Problem[] {
  return duplicates(
    storage.map((v, i) => ({ key: v.label, path: ["storage", i, "label"], owner: `storage.${i}` })),
    (label, first) => `the label ${label} is already used by ${first}`,
  );
}

function publishedPorts({ targets }: AnyManifest): Problem[] {
  return targets.flatMap((t, i) =>
    t.network.ports.length > 0 && t.network.type !== "simple"
      ? [
          {
            path: ["targets", i, "network", "ports"],
            message: `ports can be published on a network of type simple only, not ${t.network.type}`,
          },
        ]
      : [],
  );
}

interface Located {
  readonly cidr: Cidr;
  readonly path: readonly (string | number)[];
  readonly owner: string;
  /** Whether the manifest says it; else it follows from the service's name. */
  readonly isFixed: boolean;
}

/** Every address of every service, with where the manifest says it. */
function locate(targets: readonly AnyTarget[]): Located[] {
  const networks = networksOf(targets);
  return targets.flatMap((target, i) => {
    const owner = target.service_name;
    const fixed = fixedAddresses(target).map((cidr): Located => {
      const path = ["targets", i, "network", cidr.family === 4 ? "ipv4" : "ipv6"];
      return { cidr, path, owner, isFixed: true };
    });
    const network = networks.find(({ services }) => services.includes(owner));
    const all = network === undefined ? [] : addressesOn(network, target);
    const automatic = all
      .filter((cidr) => !fixed.some((other) => isSame(other.cidr, cidr)))
      .map((cidr): Located => ({ cidr, path: ["targets", i, "network"], owner, isFixed: false }));
    return [...fixed, ...automatic];
  });
}

function isSame(a: Cidr, b: Cidr): boolean {
  return a.family === b.family && a.address === b.address;
}

function addresses({ targets }: AnyManifest): Problem[] {
  const problems: Problem[] = [];
  for (const [i, t] of targets.entries()) {
    if (t.network.type !== "simple" && (t.network.ipv4 !== "" || t.network.ipv6 !== "")) {
      problems.push({
        path: ["targets", i, "network"],
        message: `an address can be given on a network of type simple only, not ${t.network.type}`,
      });
    }
  }
  for (const [i, { network }] of targets.entries())
    if (network.ipv6 === automaticIpv6 && network.ipv4 !== "")
      problems.push({
        path: ["targets", i, "network", "ipv6"],
        message: "auto is for a service without a fixed ipv4: fix both, or neither",
      });
  const located = locate(targets);
  for (const { cidr, path } of located) {
    const { first, last } = subnetBounds(cidr);
    const gateway = formatAddress(first + 1n, cidr.family);
    if (last - first < 3n)
      problems.push({
        path,
        message: "the subnet has no room for a gateway and a service: use a shorter prefix",
      });
    else if (cidr.address === first || cidr.address === last)
      problems.push({ path, message: "is the subnet's own network or broadcast address" });
    else if (cidr.address === first + 1n)
      problems.push({ path, message: `${gateway} is the subnet's gateway` });
  }
  return [...problems, ...sharedAddresses(located)];
}

/** Where two services would have one address. Of two that follow from names, one has to be fixed. */
function sharedAddresses(located: readonly Located[]): Problem[] {
  return located.flatMap(({ cidr, path, isFixed }, at): Problem[] => {
    const other = located.slice(0, at).find((earlier) => isSame(earlier.cidr, cidr));
    if (other === undefined) return [];
    const text = formatAddress(cidr.address, cidr.family);
    if (isFixed && other.isFixed)
      return [{ path, message: `the address ${text} is already used by ${other.owner}` }];
    const message = `has the same address as ${other.owner}, ${text}, which follows from a service's name: fix another one of ${formatSubnet(cidr)} for one of them`;
    return [{ path, message }];
  });
}

/** Subnets are equal or disjoint; a subnet inside another one would make the route to it ambiguous. */
function subnets({ targets }: AnyManifest): Problem[] {
  const problems: Problem[] = [];
  const seen: Located[] = [];
  for (const here of locate(targets)) {
    const other = seen.find(
      (s) => overlap(s.cidr, here.cidr) && formatSubnet(s.cidr) !== formatSubnet(here.cidr),
    );
    if (other === undefined) seen.push(here);
    else {
      problems.push({
        path: here.path,
        message: `the subnet ${formatSubnet(here.cidr)} overlaps ${formatSubnet(other.cidr)} of ${other.owner} without being the same`,
      });
    }
  }
  return problems;
}

function mounts({ targets, storage }: AnyManifest): Problem[] {
  const volumes = new Map(storage.map((v) => [v.label, v]));
  return targets.flatMap((t, i) => {
    const problems = duplicates(
      t.storage.map((m, j) => ({ key: m.dest, path: ["targets", i, "storage", j, "dest"], owner: m.label })),
      (dest, first) => `${dest} is already where the volume ${first} is mounted`,
    );
    for (const [j, m] of t.storage.entries()) {
      const volume = volumes.get(m.label);
      const path = ["targets", i, "storage", j, "label"];
      if (volume === undefined)
        problems.push({ path, message: `no volume of the label ${m.label} is declared under storage` });
      else if (volume.nsgroup !== t.nsgroup && !(isHostGroup(volume.nsgroup) && isHostGroup(t.nsgroup))) {
        problems.push({
          path,
          message: `the volume ${m.label} belongs to the nsgroup ${volume.nsgroup || "none"}, the service to ${t.nsgroup || "none"}`,
        });
      }
    }
    return problems;
  });
}

function onlyContainersRun({ targets }: AnyManifest): Problem[] {
  return targets.flatMap((t, i) =>
    t.service_type !== "container" && t.storage.length > 0
      ? [
          {
            path: ["targets", i, "storage"],
            message: `a target of type ${t.service_type} does not run, so it cannot use volumes`,
          },
        ]
      : [],
  );
}

/** What changes whom a device trusts must not be undone by an older release: it begins an epoch of its own. */
function trustInHigherEpoch({ release }: AnyManifest): Problem[] {
  if (release === undefined || release.epoch > 0) return [];
  return (["anchors", "revoked"] as const)
    .filter((key) => release[key] !== undefined)
    .map((key) => ({
      path: ["release", key],
      message: "a release that changes whom devices trust needs an epoch above 0",
    }));
}

function rolloutBegins({ release }: AnyManifest): Problem[] {
  const { from, over } = release?.rollout ?? {};
  if (over === undefined || from !== undefined) return [];
  return [{ path: ["release", "rollout", "over"], message: "needs `from`, the time from which it counts" }];
}

/** Who answers a probe, and how the agent comes to it. */
function probes({ targets }: AnyManifest): Problem[] {
  return targets.flatMap(({ health, service_type, network }, i) => {
    if (health === undefined) return [];
    const path = ["targets", i, "health"];
    if (service_type !== "container")
      return [{ path, message: `a target of type ${service_type} does not run, so it cannot be asked` }];
    const asked = health.http !== undefined ? "http" : health.tcp !== undefined ? "tcp" : undefined;
    if (asked === undefined || network.type !== "none") return [];
    return [
      {
        path: [...path, asked],
        message: "a service with network none cannot be reached: use exec, or another network",
      },
    ];
  });
}

/** What stays beside a partial manifest was signed before it, so a change of trust has to come with everything. */
function partialKeepsTrust({ update_type, release }: AnyManifest): Problem[] {
  if (update_type === "complete" || release === undefined) return [];
  return (["anchors", "revoked"] as const)
    .filter((key) => release[key] !== undefined)
    .map((key) => ({
      path: ["release", key],
      message: "only a complete manifest can change whom devices trust",
    }));
}
