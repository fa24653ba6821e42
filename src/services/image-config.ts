// What an image says of itself besides its process (OCI image specification 1.1, config): labels, ports, volumes, and its
// own health check. The manifest's word is the last for each of them.
import { MosError } from "../errors/mos-error.ts";
import { containerPathSchema } from "../manifest/names.ts";
import { type Entry, quadletWord, raw } from "../systemd/unit-file.ts";
import type { ServiceImage } from "./model.ts";
import { defaultScratch } from "./roots.ts";

/** How podman asks a service whether it is well; seconds. */
export interface Probe {
  readonly exec: readonly string[];
  readonly interval: number;
  readonly timeout: number;
  readonly retries: number;
  readonly start_period: number;
}

function unusable(service: string, what: string, hint: string): MosError {
  return new MosError("image-unusable", `the image of ${service} ${what}`, { about: service, hint });
}

/** What Docker takes when an image's check says nothing of it. */
const usual = { interval: 30, timeout: 30, retries: 3, start_period: 0 };
/** Seconds; a longer one would keep an update waiting for it. */
const longest = 3600;

/** Nanoseconds to whole seconds, 0 and nothing to what is usual. */
function seconds(nanoseconds: number | null | undefined, otherwise: number): number {
  if (nanoseconds === null || nanoseconds === undefined || !(nanoseconds > 0)) return otherwise;
  return Math.min(Math.max(1, Math.round(nanoseconds / 1e9)), longest);
}

/**
 * The check of a service that podman runs in its root: the manifest's, and without any there the image's own.
 * @throws MosError `image-unusable`
 */
export function probeOf({ target, config: { config } }: ServiceImage): Probe | undefined {
  const { health, image, run, service_name: service } = target;
  if (health?.exec !== undefined) return { ...health, exec: health.exec };
  const own = config?.Healthcheck;
  const [kind, ...argv] = own?.Test ?? [];
  const isAsked =
    health === undefined && image?.healthcheck === undefined && (run?.mode ?? "service") === "service";
  if (!isAsked || kind === undefined || kind === "NONE") return undefined;
  const hint = "Say in the manifest how it is asked (health), or image: { healthcheck: none }.";
  const exec = kind === "CMD-SHELL" ? ["/bin/sh", "-c", argv.join(" ")] : kind === "CMD" ? argv : [];
  const text = exec.join("");
  if (exec[0] === undefined || !/^[\x21-\x7e]+$/.test(exec[0]) || !text.isWellFormed() || text.includes("\0"))
    throw unusable(service, "has a health check that cannot be asked", hint);
  return {
    exec,
    interval: seconds(own?.Interval, usual.interval),
    timeout: seconds(own?.Timeout, usual.timeout),
    retries: Math.min(Math.max(1, Math.round(own?.Retries ?? 0) || usual.retries), 100),
    start_period: seconds(own?.StartPeriod, usual.start_period),
  };
}

/** Labels of the container, the manifest's over the image's. */
function labelEntries({ target, config: { config } }: ServiceImage): Entry[] {
  const labels = { ...config?.Labels, ...target.image?.labels };
  return Object.keys(labels)
    .sort()
    .filter((name) => name !== "" && !name.includes("="))
    .map((name): Entry => ["Label", quadletWord(`${name}=${labels[name] ?? ""}`)]);
}

/** Ports that the service listens on; they are published by `network.ports` only. */
function portEntries({ target, config: { config } }: ServiceImage): Entry[] {
  const ports = target.image?.exposed_ports ?? Object.keys(config?.ExposedPorts ?? {}).sort();
  return ports.map((port): Entry => {
    if (!/^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?(\/(tcp|udp|sctp))?$/.test(port)) {
      const hint = "Say in the manifest which it is:  image: { exposed_ports: [8080/tcp] }";
      throw unusable(
        target.service_name,
        `exposes what is no port: ${JSON.stringify(port.slice(0, 100))}`,
        hint,
      );
    }
    return ["ExposeHostPort", raw(port)];
  });
}

/** Directories that the image wants to write to. */
function volumesOf({ target, config: { config } }: ServiceImage): string[] {
  if (target.image?.volumes !== undefined) return [...target.image.volumes];
  return Object.keys(config?.Volumes ?? {})
    .sort()
    .map((path) => {
      const plain = path.replace(/\/+$/, "");
      if (containerPathSchema.safeParse(plain).success) return plain;
      const hint = "Say in the manifest which they are:  image: { volumes: [/data] }";
      throw unusable(
        target.service_name,
        `has a volume in no usable place: ${JSON.stringify(path.slice(0, 100))}`,
        hint,
      );
    });
}

/**
 * What a root that can be written to gives by itself: a place for what the image writes. Empty at every start, but for what
 * the image has there, and as large as scratch.
 */
function volumeEntries(image: ServiceImage): Entry[] {
  const { target } = image;
  if (target.security?.read_only !== true) return [];
  const taken = [...target.storage, ...(target.files ?? []), ...(target.mounts ?? [])].map(
    ({ dest }) => dest,
  );
  const size = target.limits?.scratch ?? defaultScratch;
  return volumesOf(image)
    .filter((path) => !taken.includes(path))
    .map((path): Entry => ["Tmpfs", raw(`${path}:rw,size=${size}M,nosuid,nodev`)]);
}

/** Lines of the [Container] section. @throws MosError `image-unusable` */
export function imageEntries(image: ServiceImage): Entry[] {
  return [...labelEntries(image), ...portEntries(image), ...volumeEntries(image)];
}
