// A quadlet (podman-systemd.unit(5), .container) as far as a manifest can say it. Pure.
import {
  type Converted,
  type Fields,
  mebibytesOf,
  portOf,
  recordOf,
  secondsOf,
  sourceOf,
  versionOf,
  wordsOf,
} from "./model.ts";

interface Line {
  readonly section: string;
  readonly key: string;
  readonly value: string;
}

function linesOf(text: string): Line[] {
  let section = "";
  return text
    .replaceAll(/\\\r?\n/g, " ")
    .split(/\r?\n/)
    .flatMap((raw) => {
      const line = raw.trim();
      const heading = /^\[([^\]]+)\]$/.exec(line);
      if (heading?.[1] !== undefined) section = heading[1];
      const match = /^([A-Za-z]+)\s*=\s*(.*)$/.exec(line);
      return heading !== null || match?.[1] === undefined
        ? []
        : [{ section, key: match[1], value: match[2] ?? "" }];
    });
}

/** Keys that mean nothing to a manifest, because mos sees to it. */
const silent = new Set([
  ...["Description", "After", "Wants", "WantedBy", "ContainerName", "HostName", "LogDriver", "Documentation"],
  ...["AutoUpdate", "DefaultDependencies", "TimeoutStartSec"],
]);

/** What one line adds; undefined when a manifest cannot say it. */
function fieldsOf({ key, value }: Line): { readonly section: string; readonly more: Fields } | undefined {
  const list = (section: string, name: string, item: unknown) =>
    item === undefined ? undefined : { section, more: { [name]: [item] } };
  const one = (section: string, name: string, item: unknown) =>
    item === undefined ? undefined : { section, more: { [name]: item } };
  switch (key) {
    case "Image":
      return { section: "", more: { source: sourceOf(value), version: versionOf(value) } };
    case "Exec":
      return one("image", "cmd", wordsOf(value));
    case "Entrypoint":
      return one("image", "entrypoint", wordsOf(value));
    case "User":
      return one("image", "user", value);
    case "WorkingDir":
      return one("image", "working_dir", value);
    case "StopSignal":
      return one("image", "stop_signal", value);
    case "Environment":
      return one("image", "env", wordsOf(value));
    case "PublishPort":
      return list("network", "ports", portOf(value));
    case "DNS":
      return list("network", "dns", value);
    case "Network":
      return value === "host" || value === "none" ? one("network", "type", value) : undefined;
    case "AddDevice":
      return /^[^:]+$/.test(value) ? list("security", "devices", { path: value }) : undefined;
    case "ReadOnly":
      return one("security", "read_only", value === "true");
    case "SeccompProfile":
      return value === "unconfined" ? one("security", "seccomp", value) : undefined;
    case "NoNewPrivileges":
      return { section: "", more: {} };
    case "PidsLimit":
      return one("limits", "pids", Number(value));
    case "Memory":
    case "MemoryMax":
      return one("limits", "memory", mebibytesOf(value));
    case "CPUQuota":
      return /^[0-9]+%$/.test(value) ? one("limits", "cpus", Number(value.slice(0, -1)) / 100) : undefined;
    case "StopTimeout":
    case "TimeoutStopSec":
      return one("run", "stop_timeout", Math.min(60, secondsOf(value) ?? 10));
    case "Restart":
      return one("run", "restart", { no: "never", always: "always" }[value] ?? "on-failure");
    default:
      return undefined;
  }
}

function merge(before: unknown, more: Fields): Fields {
  const base = recordOf(before) ?? {};
  const joined = Object.entries(more).map(([key, value]) => {
    const old = base[key];
    return [key, Array.isArray(old) && Array.isArray(value) ? [...old, ...value] : value];
  });
  return { ...base, ...Object.fromEntries(joined) };
}

/** Converts the text of one quadlet; `name` is its file's, without the ending. */
export function convertQuadlet(text: string, name: string): Converted {
  const unmapped: string[] = [];
  const storage: Fields[] = [];
  let target: Fields = {
    service_name: name,
    source: "",
    version: "1",
    nsgroup: name,
    network: { type: "simple" },
  };
  for (const line of linesOf(text)) {
    const { section, key, value } = line;
    const found = fieldsOf(line);
    const [volume = "", dest = "", mode = ""] = key === "Volume" ? value.split(":") : [];
    if (key === "Volume" && /^[A-Za-z0-9]/.test(volume) && dest !== "") {
      const label = volume.replace(/\.volume$/, "");
      const mount = { dest, label, ...(mode.split(",").includes("ro") ? { read_only: true } : {}) };
      target = merge(target, { storage: [mount] });
      storage.push({ label, persistent: true, nsgroup: name, size: "1G", enforce: true });
      unmapped.push(`Volume ${label}: a quadlet says no size; 1G is a guess`);
    } else if (found !== undefined) {
      target =
        found.section === ""
          ? { ...target, ...found.more }
          : { ...target, [found.section]: merge(target[found.section], found.more) };
    } else if (!silent.has(key))
      unmapped.push(`[${section}] ${key}=${value}: has no counterpart in a manifest`);
  }
  if (target["source"] === "") unmapped.push("[Container] Image: there is none; let source be rootfs:DIR");
  return { targets: [target], storage, unmapped };
}
