// Rules about how services run that concern several fields at once: order, files, published ports, names, the one job.
import { isHostGroup } from "./names.ts";
import { networksOf } from "./networks.ts";
import { duplicates, type Problem } from "./problem.ts";
import { readOnlyProblems } from "./read-only-rules.ts";
import type { ImportManifest, InstallManifest, Port } from "./schema.ts";
import { credentialsPath } from "./secret-rules.ts";
import { serviceKeys } from "./service-schema.ts";

type AnyManifest = InstallManifest | ImportManifest;
type AnyTarget = AnyManifest["targets"][number];

/** All violations, in either form of a manifest. */
export function serviceProblems(manifest: AnyManifest): Problem[] {
  return [
    ...onlyContainersRun(manifest),
    ...manifest.targets.flatMap((target, i) => [
      ...dependencies(target, i, manifest),
      ...files(target, i),
      ...mounts(target, i, manifest),
      ...readOnlyProblems(target, i),
      ...life(target, i),
      ...portRanges(target, i),
      ...names(target, i, manifest),
    ]),
    ...circles(manifest),
    ...portConflicts(manifest),
    ...oneJob(manifest),
    ...enforced(manifest),
  ];
}

function onlyContainersRun({ targets }: AnyManifest): Problem[] {
  return targets.flatMap((target, i) =>
    target.service_type === "container"
      ? []
      : serviceKeys
          .filter((key) => target[key] !== undefined)
          .map((key) => ({
            path: ["targets", i, key],
            message: `a target of type ${target.service_type} does not run, so ${key} says nothing`,
          })),
  );
}

function dependencies(target: AnyTarget, i: number, { targets, update_type }: AnyManifest): Problem[] {
  const all = target.depends_on ?? [];
  const pathOf = (j: number) => ["targets", i, "depends_on", j];
  const found = all.flatMap(({ service, condition }, j): Problem[] => {
    const path = pathOf(j);
    if (service === target.service_name) return [{ path, message: "a service cannot wait for itself" }];
    const other = targets.find(({ service_name }) => service_name === service);
    // What a partial manifest does not name may run already; it is looked at again together with that.
    if (other === undefined)
      return update_type === "partial" ? [] : [{ path, message: `there is no service ${service}` }];
    if (other.service_type !== "container")
      return [{ path, message: `${service} is of type ${other.service_type} and does not run` }];
    if (condition === "healthy" && other.health?.exec === undefined)
      return [{ path, message: `${service} has no health.exec, so nobody knows when it is healthy` }];
    if (condition === "completed" && other.run?.mode !== "once")
      return [{ path, message: `${service} does not run once (run.mode), so it never completes` }];
    return [];
  });
  const keys = all.map(({ service }, j) => ({ key: service, path: pathOf(j), owner: `depends_on.${j}` }));
  return [...found, ...duplicates(keys, (service, first) => `${service} is already named by ${first}`)];
}

/** Reports each service that waits, by way of others, for itself; systemd would drop one of them in silence. */
function circles({ targets }: AnyManifest): Problem[] {
  const waits = new Map(
    targets.map((t) => [t.service_name, (t.depends_on ?? []).map(({ service }) => service)]),
  );
  // Whoever waits for nobody that is left is not in a circle: Kahn's algorithm.
  const left = new Set(waits.keys());
  for (let before = -1; before !== left.size; ) {
    before = left.size;
    for (const name of left) if (!(waits.get(name) ?? []).some((other) => left.has(other))) left.delete(name);
  }
  return targets.flatMap((target, i) =>
    left.has(target.service_name) &&
    !(target.depends_on ?? []).some(({ service }) => service === target.service_name)
      ? [{ path: ["targets", i, "depends_on"], message: "waits in a circle: in the end for itself" }]
      : [],
  );
}

function files(target: AnyTarget, i: number): Problem[] {
  const all = target.files ?? [];
  const taken = [
    ...target.storage.map(({ dest, label }) => ({ dest, what: `the volume ${label}` })),
    ...(target.secrets.length === 0 ? [] : [{ dest: credentialsPath, what: "the secrets" }]),
    ...(target.mounts ?? []).map(({ dest, service }) => ({ dest, what: `the root of ${service}` })),
  ];
  const keys = all.map(({ dest }, j) => ({
    ...{ key: dest, path: ["targets", i, "files", j, "dest"], owner: `files.${j}` },
  }));
  return [
    ...duplicates(keys, (dest, first) => `${dest} is already the file of ${first}`),
    ...keys.flatMap(({ key, path }) => {
      const other = taken.find(
        ({ dest }) => dest === key || (dest === credentialsPath && key.startsWith(`${dest}/`)),
      );
      return other === undefined ? [] : [{ path, message: `${key} is where ${other.what} is mounted` }];
    }),
  ];
}

/** Roots of others: of targets that do nothing but be files, and whose owners mean the same. */
function mounts(target: AnyTarget, i: number, { targets, update_type }: AnyManifest): Problem[] {
  const all = target.mounts ?? [];
  const at = (j: number, key: string) => ["targets", i, "mounts", j, key];
  const group = (name: string) => (isHostGroup(name) ? "" : name);
  const keys = [
    ...target.storage.map(({ dest, label }, j) => ({
      ...{ key: dest, path: ["targets", i, "storage", j, "dest"], owner: `the volume ${label}` },
    })),
    ...all.map(({ dest, service }, j) => ({
      key: dest,
      path: at(j, "dest"),
      owner: `the root of ${service}`,
    })),
  ];
  const taken =
    all.length === 0 ? [] : duplicates(keys, (dest, first) => `${dest} is where ${first} is mounted`);
  return [
    ...taken,
    ...all.flatMap(({ service }, j): Problem[] => {
      const path = at(j, "service");
      const other = targets.find(({ service_name }) => service_name === service);
      if (other === undefined)
        return update_type === "partial" ? [] : [{ path, message: `there is no target ${service}` }];
      if (other.service_type !== "fs-only")
        return [
          { path, message: `${service} is of type ${other.service_type}; only fs-only ones can be mounted` },
        ];
      return group(other.nsgroup) === group(target.nsgroup)
        ? []
        : [
            {
              path,
              message: `${service} belongs to the nsgroup ${other.nsgroup || "none"}, the service to ${target.nsgroup || "none"}`,
            },
          ];
    }),
  ];
}

function life({ run, health }: AnyTarget, i: number): Problem[] {
  if (run === undefined) return [];
  const path = ["targets", i, "run"];
  const problems: Problem[] = [];
  const mode = run.mode ?? "service";
  if (mode === "ephemeral" && run.deadline === undefined)
    problems.push({ path: [...path, "mode"], message: "an ephemeral job needs a deadline" });
  if (mode !== "ephemeral" && run.deadline !== undefined)
    problems.push({ path: [...path, "deadline"], message: "only an ephemeral job has a deadline" });
  if (mode === "ephemeral" && run.restart !== undefined && run.restart !== "never")
    problems.push({ path: [...path, "restart"], message: "an ephemeral job is not begun again" });
  if (mode === "once" && run.restart === "always")
    problems.push({
      path: [...path, "restart"],
      message: "what runs once is begun again on-failure or never",
    });
  if (mode === "once" && run.pre_stop !== undefined)
    problems.push({ path: [...path, "pre_stop"], message: "what runs once has ended before it is stopped" });
  if (mode !== "service" && run.watchdog !== undefined)
    problems.push({
      path: [...path, "watchdog"],
      message: `a job of mode ${mode} has its time, not a watchdog`,
    });
  if (health?.exec !== undefined && run.watchdog !== undefined)
    problems.push({
      path: [...path, "watchdog"],
      message: "the program or health.exec says when the service is up, not both",
    });
  if (mode !== "service" && health !== undefined)
    problems.push({
      path: ["targets", i, "health"],
      message: `a job of mode ${mode} is well when it ends well`,
    });
  return problems;
}

function portRanges({ network }: AnyTarget, i: number): Problem[] {
  return network.ports.flatMap(({ host, container, count = 1 }, j) =>
    Math.max(host, container) + count - 1 > 65_535
      ? [
          {
            path: ["targets", i, "network", "ports", j, "count"],
            message: "the range goes beyond port 65535",
          },
        ]
      : [],
  );
}

/** Whether two publish the same port: the same protocol, on the same address or on all. */
function collide(a: Port, b: Port): boolean {
  if ((a.protocol ?? "tcp") !== (b.protocol ?? "tcp")) return false;
  const isAny = (address: string | undefined) => address === undefined || /^[0:.]+$/.test(address);
  if (!isAny(a.address) && !isAny(b.address) && a.address !== b.address) return false;
  return a.host < b.host + (b.count ?? 1) && b.host < a.host + (a.count ?? 1);
}

function portConflicts({ targets }: AnyManifest): Problem[] {
  const seen: { readonly port: Port; readonly owner: string }[] = [];
  const problems: Problem[] = [];
  for (const [i, { network, service_name: owner }] of targets.entries()) {
    for (const [j, port] of network.ports.entries()) {
      const other = seen.find((earlier) => collide(earlier.port, port));
      seen.push({ port, owner });
      if (other === undefined) continue;
      const path = ["targets", i, "network", "ports", j, "host"];
      const common = Math.max(port.host, other.port.host);
      problems.push({ path, message: `host port ${common} is already published by ${other.owner}` });
    }
  }
  return problems;
}

/** Names can be told only of services that are on the same network. */
function names(
  { network, service_name: own }: AnyTarget,
  i: number,
  { targets, update_type }: AnyManifest,
): Problem[] {
  const path = ["targets", i, "network"];
  if (network.type !== "simple") {
    const message = `is for a network of type simple only, not ${network.type}`;
    return (["dns", "hosts"] as const)
      .filter((key) => network[key] !== undefined)
      .map((key) => ({ path: [...path, key], message }));
  }
  const networks = network.hosts === undefined ? [] : networksOf(targets);
  return (network.hosts ?? []).flatMap((name, j): Problem[] => {
    const at = [...path, "hosts", j];
    if (name === own) return [{ path: at, message: "a service knows itself already" }];
    const other = targets.find(({ service_name }) => service_name === name);
    if (other === undefined)
      return update_type === "partial" ? [] : [{ path: at, message: `there is no service ${name}` }];
    return networks.some(({ services }) => services.includes(own) && services.includes(name))
      ? []
      : [
          {
            path: at,
            message: `${name} is not on the network of ${own}: both need addresses of one subnet, or neither a fixed one`,
          },
        ];
  });
}

/** A machine with one job does that job, and keeps nothing of it. */
function oneJob({ targets, storage }: AnyManifest): Problem[] {
  const jobs = targets.flatMap(({ run }, i) => (run?.mode === "ephemeral" ? [i] : []));
  if (jobs.length === 0) return [];
  return [
    ...jobs.slice(1).map((i) => ({
      path: ["targets", i, "run", "mode"],
      message: "there is one ephemeral job in a manifest already, and a machine powers off once",
    })),
    ...storage.flatMap(({ persistent }, i) =>
      persistent
        ? [{ path: ["storage", i, "persistent"], message: "a machine with an ephemeral job keeps nothing" }]
        : [],
    ),
  ];
}

/** MiB of the smallest file system that is worth its own overhead. */
const smallestDisk = 16;

function enforced({ storage }: AnyManifest): Problem[] {
  return storage.flatMap(({ enforce, persistent, size }, i) => {
    if (enforce === undefined) return [];
    const path = ["storage", i, "enforce"];
    if (!persistent)
      return [{ path, message: "is for persistent volumes; the size of the others is enforced already" }];
    if (enforce && size < smallestDisk)
      return [{ path, message: `a volume of its own has at least ${smallestDisk} MiB` }];
    return [];
  });
}
