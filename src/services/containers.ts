// A service of type `container` as a quadlet: podman runs the root that the other units have mounted, in the user
// namespace of its nsgroup. podman sees no image, so what the image says about running it is written out here.
import { MosError } from "../errors/mos-error.ts";
import type { Port, Target, Volume } from "../manifest/schema.ts";
import { unicodeEscape } from "../system/unicode-escape.ts";
import {
  type Entry,
  literal,
  quadletLiteral,
  quadletWord,
  raw,
  type Section,
  unitNames,
} from "../systemd/unit-file.ts";
import { type CredentialsTags, credentialsEntries } from "./credentials.ts";
import { ephemeralEntries } from "./ephemeral.ts";
import { fileEntries, fileUnits } from "./files.ts";
import { rangeLength } from "./idmap.ts";
import { imageEntries, type Probe, probeOf } from "./image-config.ts";
import { lifeEntries, stopEntries, watchdogEntries } from "./life.ts";
import { containerLimits, serviceLimits } from "./limits.ts";
import type { ServiceImage } from "./model.ts";
import type { Quadlet } from "./podman-service.ts";
import { argvOf, environmentOf, stopSignalOf, userOf, workingDirectoryOf } from "./process.ts";
import { readOnlyChecks, readOnlyEntries } from "./read-only.ts";
import { securityEntries } from "./security.ts";
import {
  containerName,
  type Places,
  rootMount,
  rootUnit,
  serviceUnit,
  sliceUnit,
  targetUnit,
} from "./unit-names.ts";
import { volumeNeeds, volumeSource } from "./volumes.ts";

interface ContainerContext {
  readonly firstId: number | undefined;
  /** Value of `Network=`. */
  readonly network: string;
  /** `NAME:ADDRESS` of services that it finds by their name. */
  readonly hosts: readonly string[];
  /** Whether other services wait for this one. */
  readonly isDependedUpon: boolean;
  readonly volumes: ReadonlyMap<string, Volume>;
  readonly credentials: CredentialsTags;
  readonly places: Places;
}

/** @throws MosError `image-unusable` when the image does not say what to run */
export function renderContainer(image: ServiceImage, context: ContainerContext): Quadlet {
  const { target } = image;
  const service = target.service_name;
  const probe = probeOf(image);
  const mounted = target.storage.flatMap(({ label, dest, read_only }) => {
    const volume = context.volumes.get(label);
    return volume === undefined ? [] : [{ volume, dest, mode: read_only === true ? "ro" : "rw" }];
  });
  const needs = [
    rootUnit(context.places, service),
    ...mounted.map(({ volume }) => volumeNeeds(volume, context.places)),
    ...(target.mounts ?? []).map((mount) => rootUnit(context.places, mount.service)),
    ...fileUnits(target, context.places),
    ...(target.depends_on ?? []).map((dependency) => serviceUnit(dependency.service)),
  ];
  const sections = [
    {
      name: "Unit",
      entries: [
        ["Description", literal(`mos service ${service} ${target.version}`)],
        // Pulling in the root takes the whole chain of layers with it, up and down.
        ["Requires", unitNames(...needs)],
        ["After", unitNames(...needs)],
        ["PartOf", raw(targetUnit)],
        ["StartLimitIntervalSec", raw("60")],
        ["StartLimitBurst", raw("10")],
        ...ephemeralEntries(target),
      ],
    },
    {
      name: "Container",
      entries: [
        ["ContainerName", raw(containerName(service))],
        ["HostName", raw(service.replaceAll("_", "-"))],
        ["Rootfs", raw(rootMount(context.places, service))],
        ...idMapEntries(context.firstId),
        ["Network", raw(context.network)],
        ...target.network.ports.map((port): Entry => ["PublishPort", raw(publishedPort(port))]),
        ...(target.network.dns ?? []).map((address): Entry => ["DNS", raw(address)]),
        ...context.hosts.map((host): Entry => ["AddHost", raw(host)]),
        ...mounted.map(({ volume, dest, mode }): Entry => {
          return ["Volume", raw(`${volumeSource(volume, context.places)}:${dest}:${mode},nosuid,nodev`)];
        }),
        ...(target.mounts ?? []).map((mount): Entry => {
          const from = rootMount(context.places, mount.service);
          return ["Volume", raw(`${from}:${mount.dest}:ro,nosuid,nodev`)];
        }),
        ...readOnlyEntries(target, context.places),
        ...fileEntries(target, context.places),
        ...processEntries(image),
        ...imageEntries(image),
        ...healthEntries(probe, target),
        ...watchdogEntries(target),
        // After the image's own environment, so that this holds.
        ...credentialsEntries(image, context.firstId, context.credentials, context.places),
        ...securityEntries(target),
        ...containerLimits(target),
        ...stopEntries(target),
        ["LogDriver", raw("journald")],
      ],
    },
    {
      name: "Service",
      entries: [
        ["Slice", raw(sliceUnit)],
        ...serviceLimits(target, context.places),
        ...readOnlyChecks(target, context.places),
        ...lifeEntries(target, probe, context.isDependedUpon),
      ],
    },
  ] satisfies Section[];
  return { of: { service }, sections, services: [service] };
}

/**
 * A program in the service's own root that says whether it is well: podman runs it, and tells systemd of the start only
 * when it has succeeded, so that everything that waits for the service waits for that.
 */
function healthEntries(probe: Probe | undefined, { run }: Target): Entry[] {
  if (probe === undefined) return [];
  return [
    ["HealthCmd", quadletLiteral(healthCommand(probe.exec))],
    ["HealthInterval", raw(`${probe.interval}s`)],
    ["HealthTimeout", raw(`${probe.timeout}s`)],
    ["HealthRetries", raw(`${probe.retries}`)],
    ["HealthStartPeriod", raw(`${probe.start_period}s`)],
    // With a watchdog the program says it itself.
    ...(run?.watchdog === undefined ? [["Notify", raw("healthy")] as const] : []),
  ];
}

/**
 * What podman runs without a shell (podman 5.4: an array of several words is taken as it is, one word only after `CMD`,
 * and an array that begins with `CMD` not at all). The schema sees to it that the program's path has no white space.
 */
function healthCommand(argv: readonly string[]): string {
  return argv.length === 1 ? `CMD ${argv[0]}` : jsonWords(argv);
}

/** A JSON list without the characters that JSON allows and a unit file does not: C1 controls and line separators. */
function jsonWords(argv: readonly string[]): string {
  return JSON.stringify(argv).replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, unicodeEscape);
}

/** `[ADDRESS:]HOST[-LAST]:CONTAINER[-LAST]/PROTOCOL` (podman-run(1), --publish). */
function publishedPort({ host, container, protocol = "tcp", address, count = 1 }: Port): string {
  const range = (first: number) => (count === 1 ? `${first}` : `${first}-${first + count - 1}`);
  const on = address === undefined ? "" : `${address.includes(":") ? `[${address}]` : address}:`;
  return `${on}${range(host)}:${range(container)}/${protocol}`;
}

function idMapEntries(firstId: number | undefined): Entry[] {
  if (firstId === undefined) return [];
  const map = raw(`0:${firstId}:${rangeLength}`);
  return [
    ["UIDMap", map],
    ["GIDMap", map],
  ];
}

/** What to run and how, from the image's configuration (OCI image specification 1.1, config). */
function processEntries({ target, config: { config } }: ServiceImage): Entry[] {
  const { image: over } = target;
  const argv = argvOf(over, config);
  if (argv.length === 0) {
    throw new MosError(
      "image-unusable",
      `the image of ${target.service_name} does not say what to run: it has no Entrypoint and no Cmd`,
      {
        about: target.service_name,
      },
    );
  }
  if (argv.some((arg) => arg.includes("\0"))) {
    throw new MosError("image-unusable", `the command of ${target.service_name} has a NUL character`, {
      about: target.service_name,
    });
  }
  const [user = "", group = ""] = userOf(over, config).split(":");
  const entries: Entry[] = [
    // The whole argv as JSON: quadlet's Exec= drops everything from the first empty argument on.
    ["Entrypoint", quadletLiteral(jsonWords(argv))],
    ...environmentOf(over, config).map((variable): Entry => ["Environment", quadletWord(variable)]),
  ];
  const optional = (key: string, value: string) => {
    if (value === "") return;
    if (/[\p{Cc}\p{Zl}\p{Zp}\\]/u.test(value)) {
      throw new MosError(
        "image-unusable",
        `the ${key} of ${target.service_name} has characters that cannot be passed on`,
        {
          about: target.service_name,
        },
      );
    }
    entries.push([key, quadletLiteral(value)]);
  };
  optional("User", user);
  optional("Group", group);
  optional("WorkingDir", workingDirectoryOf(over, config));
  optional("StopSignal", stopSignalOf(over, config));
  return entries;
}
