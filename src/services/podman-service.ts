// A quadlet as the service that quadlet makes of it (podman-systemd.unit(5)), for devices whose podman has no quadlet, or
// one that does not know every key: UIDMap=, Entrypoint=, StopTimeout=, AddHost= and StopSignal= came one after the other
// after 4.4. podman itself has known since 4.3 all that is asked of it here; what later ones do by themselves, scripts do
// (packaging/podman).
import { MosError } from "../errors/mos-error.ts";
import {
  type Entry,
  formatUnit,
  raw,
  type Section,
  type UnitValue,
  unitNames,
  wholeWord,
} from "../systemd/unit-file.ts";
import type { RenderedUnit } from "./model.ts";
import { containerFile, containerName, networkFile, networkUnit, serviceUnit } from "./unit-names.ts";

/** What a file for quadlet says. */
export interface Quadlet {
  readonly of: { readonly service: string } | { readonly network: string };
  readonly sections: readonly Section[];
  /** Services that must be restarted when it changes. */
  readonly services: readonly string[];
}

/** Waits until a container's own check finds it well (packaging/podman/wait-healthy). */
const waitHealthy = "/usr/lib/mos/wait-healthy";
/** Makes a network that is not there (packaging/podman/make-network). */
const makeNetwork = "/usr/lib/mos/make-network";

/** Keys whose value is one argument after the flag; `whole`: of one that may need quotes, which quadlet itself would add. */
const containerFlags: Readonly<Record<string, { readonly flag: string; readonly whole?: true }>> = {
  ContainerName: { flag: "--name" },
  HostName: { flag: "--hostname" },
  LogDriver: { flag: "--log-driver" },
  PidsLimit: { flag: "--pids-limit" },
  Ulimit: { flag: "--ulimit" },
  StopSignal: { flag: "--stop-signal", whole: true },
  StopTimeout: { flag: "--stop-timeout" },
  Entrypoint: { flag: "--entrypoint", whole: true },
  WorkingDir: { flag: "--workdir", whole: true },
  Tmpfs: { flag: "--tmpfs" },
  DNS: { flag: "--dns" },
  AddHost: { flag: "--add-host" },
  PublishPort: { flag: "--publish" },
  ExposeHostPort: { flag: "--expose" },
  AddDevice: { flag: "--device" },
  DropCapability: { flag: "--cap-drop" },
  UIDMap: { flag: "--uidmap" },
  GIDMap: { flag: "--gidmap" },
  Volume: { flag: "--volume" },
  Environment: { flag: "--env" },
  Label: { flag: "--label" },
  HealthCmd: { flag: "--health-cmd", whole: true },
  HealthInterval: { flag: "--health-interval" },
  HealthRetries: { flag: "--health-retries" },
  HealthStartPeriod: { flag: "--health-start-period" },
  HealthTimeout: { flag: "--health-timeout" },
};

/** Writes what quadlet is to read, in `/run/containers/systemd`. */
export function quadletFile({ of, sections, services }: Quadlet): RenderedUnit {
  const name = "service" in of ? containerFile(of.service) : networkFile(of.network);
  // Without this quadlet adds a wait for network-online.target, which can hold up a boot for two minutes.
  const quadlet = { name: "Quadlet", entries: [["DefaultDependencies", raw("false")] as const] };
  const [unit, ...rest] = sections;
  const content = formatUnit([...(unit === undefined ? [] : [unit]), quadlet, ...rest]);
  return { kind: "quadlet", name, content, services };
}

/** Writes what systemd is to read, and leaves quadlet out. */
export function serviceFile({ of, sections, services }: Quadlet): RenderedUnit {
  const name = "service" in of ? serviceUnit(of.service) : networkUnit(of.network);
  const content = formatUnit(
    sections.flatMap((section): Section[] => {
      switch (section.name) {
        case "Unit":
          return [
            { name: "Unit", entries: [...section.entries, ...unitEntries(entriesOf(sections, "Container"))] },
          ];
        case "Service":
          return [{ name: "Service", entries: [...section.entries, ...serviceEntries(of, sections)] }];
        default:
          return [];
      }
    }),
  );
  return { kind: "systemd", name, content, services };
}

function entriesOf(sections: readonly Section[], name: string): readonly Entry[] {
  return sections.find((section) => section.name === name)?.entries ?? [];
}

/** Name and options of a network that a unit of mos makes; undefined for `none` and `host`. */
function networkOf(value: UnitValue): { readonly name: string; readonly options: string } | undefined {
  const [, name, options = ""] = /^([^:]+)\.network(:.*)?$/.exec(value) ?? [];
  return name === undefined ? undefined : { name, options };
}

function unitEntries(container: readonly Entry[]): Entry[] {
  const networks = container.flatMap(([key, value]) => (key === "Network" ? (networkOf(value) ?? []) : []));
  const units = networks.map(({ name }) => networkUnit(name));
  const sources = container.flatMap(([key, value]) =>
    key === "Volume" ? [raw(value.slice(0, value.indexOf(":")))] : [],
  );
  return [
    ...[raw("%t/containers"), ...sources].map((path): Entry => ["RequiresMountsFor", path]),
    ...(units.length === 0
      ? []
      : [["Requires", unitNames(...units)] as const, ["After", unitNames(...units)] as const]),
  ];
}

function serviceEntries(of: Quadlet["of"], sections: readonly Section[]): Entry[] {
  if ("network" in of) {
    const options = entriesOf(sections, "Network").flatMap(networkArguments);
    return [
      ["Type", raw("oneshot")],
      ["RemainAfterExit", raw("yes")],
      ["SyslogIdentifier", raw("%N")],
      ["ExecStart", raw([makeNetwork, of.network, ...options].join(" "))],
    ];
  }
  const container = entriesOf(sections, "Container");
  const isOneshot = entriesOf(sections, "Service").some(
    ([key, value]) => key === "Type" && value === "oneshot",
  );
  // By its name, where quadlet has a file with its id: podman 4.3 leaves that file behind.
  const removal = `podman rm --volumes --force --ignore ${containerName(of.service)}`;
  const first = ["--replace", "--rm", "--cgroups=split"];
  const detached = isOneshot ? [] : ["--detach", `--sdnotify=${notifier(container)}`];
  const options = container.flatMap((entry) => containerArguments(entry, container));
  const root = container.find(([key]) => key === "Rootfs")?.[1] ?? "";
  const run = ["podman", "run", ...first, ...detached, ...options, "--rootfs", root].join(" ");
  return [
    ["Environment", raw("PODMAN_SYSTEMD_UNIT=%n")],
    ["KillMode", raw("mixed")],
    ["Delegate", raw("yes")],
    ["SyslogIdentifier", raw("%N")],
    ...(isOneshot ? [] : [["Type", raw("notify")] as const, ["NotifyAccess", raw("all")] as const]),
    ["ExecStart", raw(run)],
    ...healthEntries(of.service, container),
    ["ExecStop", raw(removal)],
    ["ExecStopPost", raw(`-${removal}`)],
  ];
}

function lineOf(container: readonly Entry[], name: string): UnitValue | undefined {
  return container.find(([key]) => key === name)?.[1];
}

/** Who tells systemd that the service is up. */
function notifier(container: readonly Entry[]): "container" | "conmon" {
  return lineOf(container, "Notify") === "true" ? "container" : "conmon";
}

/** Later podmans wait for a container's health by themselves (`--sdnotify=healthy`). */
function healthEntries(service: string, container: readonly Entry[]): Entry[] {
  if (lineOf(container, "Notify") !== "healthy") return [];
  const interval = lineOf(container, "HealthInterval") ?? "1s";
  return [["ExecStartPost", raw(`${waitHealthy} ${containerName(service)} ${interval}`)]];
}

/** Arguments of podman-run(1) for one line of the [Container] section. */
function containerArguments([key, value]: Entry, container: readonly Entry[]): string[] {
  const known = containerFlags[key];
  if (known !== undefined) return [known.flag, known.whole === true ? wholeWord(value) : value];
  switch (key) {
    case "Rootfs":
    case "Notify":
    case "Group":
      return [];
    case "User": {
      const group = lineOf(container, "Group");
      return ["--user", wholeWord(group === undefined ? value : raw(`${value}:${group}`))];
    }
    case "Network": {
      const network = networkOf(value);
      return ["--network", network === undefined ? value : `${network.name}${network.options}`];
    }
    case "AddCapability":
      return value.split(" ").flatMap((name) => ["--cap-add", name]);
    case "NoNewPrivileges":
      return value === "true" ? ["--security-opt", "no-new-privileges"] : [];
    case "SeccompProfile":
      return ["--security-opt", `seccomp=${value}`];
    case "ReadOnly":
      return value === "true" ? ["--read-only"] : [];
    default:
      throw new MosError("internal", `no argument of podman run is known for ${key}=`);
  }
}

/** Arguments of podman-network-create(1) for one line of the [Network] section. */
function networkArguments([key, value]: Entry): string[] {
  switch (key) {
    case "NetworkName":
      return [];
    case "DisableDNS":
      return value === "true" ? ["--disable-dns"] : [];
    case "IPv6":
      return value === "true" ? ["--ipv6"] : [];
    case "Subnet":
      return ["--subnet", value];
    default:
      throw new MosError("internal", `no argument of podman network create is known for ${key}=`);
  }
}
