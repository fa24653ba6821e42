// What converting gives: the targets and volumes that could be said, and what could not.

/** Fields of a target or volume as they are written in YAML; the schema has the last word on them. */
export type Fields = { [key: string]: unknown };

export interface Converted {
  readonly targets: readonly Fields[];
  readonly storage: readonly Fields[];
  /** `WHERE: why`, of everything that the manifest does not say. */
  readonly unmapped: readonly string[];
}

/** The text of a value if it has an obvious one. */
export function textOf(value: unknown): string | undefined {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean"
    ? String(value)
    : undefined;
}

/** A record of a document that came from outside. */
export function recordOf(value: unknown): Fields | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : undefined;
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
}

/** `docker://` source of an image as docker and podman name it; a short name is one of Docker Hub's. */
export function sourceOf(image: string): string {
  const [first = ""] = image.split("/");
  const isHost = image.includes("/") && (/[.:]/.test(first) || first === "localhost");
  const path = isHost ? image : `docker.io/${image.includes("/") ? image : `library/${image}`}`;
  return `docker://${path}`;
}

/** What comes after the last colon behind the last slash. */
export function versionOf(image: string): string {
  return /:([^/:@]+)(@.*)?$/.exec(image)?.[1] ?? "latest";
}

/** `[ADDRESS:]HOST[-LAST]:CONTAINER[-LAST][/PROTOCOL]`; undefined when it says anything else. */
export function portOf(text: string): Fields | undefined {
  const match =
    /^(?:(\[[0-9a-fA-F:]+\]|[0-9.]+):)?([0-9]+)(?:-([0-9]+))?:([0-9]+)(?:-([0-9]+))?(?:\/(tcp|udp))?$/.exec(
      text,
    );
  if (match === null) return undefined;
  const [host, last, container, containerLast] = [
    match[2],
    match[3] ?? match[2],
    match[4],
    match[5] ?? match[4],
  ].map(Number);
  if (host === undefined || last === undefined || container === undefined || containerLast === undefined)
    return undefined;
  if (last < host || last - host !== containerLast - container) return undefined;
  return {
    host,
    container,
    ...(match[6] === "udp" ? { protocol: "udp" } : {}),
    ...(match[1] === undefined ? {} : { address: match[1].replaceAll(/[[\]]/g, "") }),
    ...(last === host ? {} : { count: last - host + 1 }),
  };
}

/** MiB of `512m`, `1g`, `1048576`; at least one. */
export function mebibytesOf(text: string): number | undefined {
  const match = /^([0-9]+(?:\.[0-9]+)?)\s*([bkmgt]?)(?:i?b)?$/i.exec(text.trim());
  if (match === null) return undefined;
  const unit = { b: 0, k: 1, m: 2, g: 3, t: 4 }[(match[2] ?? "").toLowerCase()] ?? 0;
  return Math.max(1, Math.ceil((Number(match[1]) * 1024 ** unit) / 1024 ** 2));
}

/** Seconds of `1m30s`, `90s`, `90`. */
export function secondsOf(text: string): number | undefined {
  if (/^[0-9]+$/.test(text)) return Number(text);
  const match = /^(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?$/.exec(text);
  if (match === null || text === "") return undefined;
  return Number(match[1] ?? 0) * 3600 + Number(match[2] ?? 0) * 60 + Number(match[3] ?? 0);
}

/**
 * Words of a command line as a shell would split them, for quotes and backslashes only; undefined when it uses more of
 * a shell than that.
 */
export function wordsOf(text: string): string[] | undefined {
  if (/[$`;|&<>(){}*?~\n]/.test(text)) return undefined;
  const words: string[] = [];
  const word = /\s*((?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+)/gy;
  let end = 0;
  for (let match = word.exec(text); match !== null; match = word.exec(text)) {
    end = word.lastIndex;
    const parts = (match[1] ?? "").matchAll(/\\(.)|"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\\"']+)/g);
    words.push(
      [...parts].map((p) => p[1] ?? p[2]?.replaceAll(/\\(.)/g, "$1") ?? p[3] ?? p[4] ?? "").join(""),
    );
  }
  return text.slice(end).trim() === "" ? words : undefined;
}
