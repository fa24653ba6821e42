// What is different between two manifests, in the words of the manifest: pure. `mosctl diff` and
// `mosctl update --dry-run` show the same comparison.
import type { InstallManifest, Port, Release, Target, Volume } from "../manifest/schema.ts";
import type { Secret } from "../manifest/secret-schema.ts";
import { digestOf } from "../oci/digest.ts";

/** One field as it was and as it is, as text; absent where there is none. */
export interface FieldChange {
  readonly field: string;
  readonly before?: string;
  readonly after?: string;
}

/** Names of things that only one side has or that both have, sorted. */
interface Comparison<Change> {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly Change[];
  /** The same on both sides. */
  readonly kept: readonly string[];
}

/** Services are at the top; volumes and what is said of the whole release are below. */
export interface ManifestComparison
  extends Comparison<{ readonly service: string; readonly fields: readonly FieldChange[] }> {
  readonly volumes: Comparison<{ readonly volume: string; readonly fields: readonly FieldChange[] }>;
  /** `product`, `health`, `serial`, `epoch`, `expires`, `rollout`, `anchors` and `revoked` (hashes): only those that differ. */
  readonly release: readonly FieldChange[];
}

/** Field → its value as text; undefined when the manifest has none. */
type Fields = Readonly<Record<string, string | undefined>>;

function listText(items: readonly string[]): string | undefined {
  return items.length === 0 ? undefined : items.toSorted().join(", ");
}

function orNone(text: string): string | undefined {
  return text === "" ? undefined : text;
}

/** Enough of a SHA-256 to tell one thing from another by eye. */
function mark(bytes: Uint8Array | string): string {
  return digestOf(bytes).slice("sha256:".length, "sha256:".length + 12);
}

/** A secret is told by its name and a hash of its encrypted form: what it hides is never shown. */
function secretText(secret: Secret): string {
  return `${secret.name} (${mark(JSON.stringify(secret))})`;
}

/** `[ADDRESS:]HOST[-LAST]→CONTAINER[/udp]`. */
function portText({ host, container, protocol = "tcp", address, count = 1 }: Port): string {
  const on = address === undefined ? "" : `${address} `;
  const last = count === 1 ? "" : `-${host + count - 1}`;
  return `${on}${host}${last}→${container}${protocol === "udp" ? "/udp" : ""}`;
}

function targetFields(target: Target): Fields {
  const { network } = target;
  return {
    version: target.version,
    type: target.service_type,
    image: target.digest,
    nsgroup: orNone(target.nsgroup),
    network: network.type,
    ipv4: orNone(network.ipv4),
    ipv6: orNone(network.ipv6),
    ports: listText(network.ports.map(portText)),
    dns: listText(network.dns ?? []),
    hosts: listText(network.hosts ?? []),
    storage: listText(
      target.storage.map(
        ({ label, dest, read_only }) => `${label} at ${dest}${read_only === true ? " (read-only)" : ""}`,
      ),
    ),
    secrets: listText(target.secrets.map(secretText)),
    health: target.health && JSON.stringify(target.health),
    image_config: target.image && JSON.stringify(target.image),
    limits: target.limits && JSON.stringify(target.limits),
    security: target.security && JSON.stringify(target.security),
    run: target.run && JSON.stringify(target.run),
    files: listText((target.files ?? []).map((file) => `${file.dest} (${mark(JSON.stringify(file))})`)),
    depends_on: listText(
      (target.depends_on ?? []).map(({ service, condition }) => `${service} ${condition}`),
    ),
  };
}

function volumeFields({ persistent, nsgroup, size, enforce }: Volume): Fields {
  return {
    kind: persistent ? "persistent" : "in memory",
    nsgroup: orNone(nsgroup),
    size: `${size} MiB${enforce === true ? ", enforced" : ""}`,
  };
}

function rolloutText({ percent, from, over }: NonNullable<Release["rollout"]>): string {
  const growth = over === undefined ? "" : ` growing to 100 % within ${over} h`;
  return `${percent} %${from === undefined ? "" : ` from ${from}${growth}`}`;
}

function releaseFields({ product, release, health }: InstallManifest): Fields {
  return {
    product,
    health: health && JSON.stringify(health),
    serial: release === undefined ? undefined : String(release.serial),
    epoch: release === undefined ? undefined : String(release.epoch),
    expires: release?.expires,
    rollout: release?.rollout && rolloutText(release.rollout),
    anchors: listText((release?.anchors ?? []).map((der) => mark(Buffer.from(der, "base64")))),
    revoked: listText((release?.revoked ?? []).map((fingerprint) => fingerprint.slice(0, 12))),
  };
}

/** The fields that differ, in the order in which the sides have them. */
function changesOf(before: Fields, after: Fields): FieldChange[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names].flatMap((field) => {
    const [was, is] = [before[field], after[field]];
    if (was === is) return [];
    return [
      { field, ...(was === undefined ? {} : { before: was }), ...(is === undefined ? {} : { after: is }) },
    ];
  });
}

interface Named {
  readonly name: string;
  readonly fields: Fields;
  /** Everything of the thing, exactly: what no field tells apart differs here. */
  readonly exact: string;
}

function compareNamed<Change>(
  before: readonly Named[],
  after: readonly Named[],
  changeOf: (name: string, fields: readonly FieldChange[]) => Change,
): Comparison<Change> {
  const old = new Map(before.map((thing) => [thing.name, thing]));
  const sorted = after.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const added: string[] = [];
  const kept: string[] = [];
  const changed: Change[] = [];
  for (const thing of sorted) {
    const was = old.get(thing.name);
    if (was === undefined) added.push(thing.name);
    else if (was.exact === thing.exact) kept.push(thing.name);
    else changed.push(changeOf(thing.name, changesOf(was.fields, thing.fields)));
  }
  const names = new Set(after.map(({ name }) => name));
  const removed = before.map(({ name }) => name).filter((name) => !names.has(name));
  return { added, removed: removed.sort(), changed, kept };
}

function services(manifest: InstallManifest | undefined): Named[] {
  return (manifest?.targets ?? []).map((target) => ({
    name: target.service_name,
    fields: targetFields(target),
    exact: JSON.stringify(target),
  }));
}

function volumes(manifest: InstallManifest | undefined): Named[] {
  return (manifest?.storage ?? []).map((volume) => ({
    name: volume.label,
    fields: volumeFields(volume),
    exact: JSON.stringify(volume),
  }));
}

/**
 * Compares two manifests by what a person would ask: which services come, go, change (and in which fields), stay.
 * @param before undefined where nothing has been applied: then everything is added
 */
export function compareManifests(
  before: InstallManifest | undefined,
  after: InstallManifest,
): ManifestComparison {
  const was = before === undefined ? {} : releaseFields(before);
  return {
    ...compareNamed(services(before), services(after), (service, fields) => ({ service, fields })),
    volumes: compareNamed(volumes(before), volumes(after), (volume, fields) => ({ volume, fields })),
    release: changesOf(was, releaseFields(after)),
  };
}
