// A quadlet (podman-systemd.unit(5), .container) as far as a manifest can say it. Pure.
import { defaultCapabilities } from "../services/security.ts";
import {
  type Converted,
  type Fields,
  listOf,
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

/** Keys that change nothing: texts for people, and when it starts, which for services of mos is with the device. */
const silent = new Set(["Description", "Documentation", "WantedBy", "RequiredBy", "DefaultDependencies"]);

/** Most seconds that a manifest gives a service to stop in. */
const longestStop = 60;

/** Whether a line says what holds for every service of mos. */
function isUsual({ key, value }: Line, name: string): boolean {
  if (silent.has(key)) return true;
  if (key === "ContainerName" || key === "HostName") return value === name;
  return key === "LogDriver" && value === "journald";
}

/** As systemd reads a boolean (systemd.syntax(7)). */
function booleanOf(value: string): boolean | undefined {
  if (/^(1|yes|true|on)$/i.test(value)) return true;
  return /^(0|no|false|off)$/i.test(value) ? false : undefined;
}

function numberOf(value: string): number | undefined {
  return /^[1-9][0-9]{0,9}$/.test(value) ? Number(value) : undefined;
}

/** Names of capabilities without `CAP_`; undefined for all of them, which a manifest names. */
function capabilitiesOf(value: string): string[] | undefined {
  const names = value.split(/\s+/).map((one) => one.toUpperCase().replace(/^CAP_/, ""));
  return names.includes("ALL") ? undefined : names;
}

function labelsOf(value: string): Fields | undefined {
  const pairs = wordsOf(value)?.map((word) => /^([^=]+)=(.*)$/s.exec(word));
  if (pairs === undefined || pairs.includes(null)) return undefined;
  return Object.fromEntries(pairs.map((match) => [match?.[1] ?? "", match?.[2] ?? ""]));
}

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
      return one("security", "read_only", booleanOf(value));
    case "SeccompProfile":
      return value === "unconfined" ? one("security", "seccomp", value) : undefined;
    case "NoNewPrivileges":
      return one("security", "no_new_privileges", booleanOf(value));
    case "Label":
      return one("image", "labels", labelsOf(value));
    case "ExposeHostPort":
      return /^[0-9-]+(\/(tcp|udp))?$/.test(value)
        ? list("image", "exposed_ports", value.includes("/") ? value : `${value}/tcp`)
        : undefined;
    case "AddCapability":
      return one("capabilities", "add", capabilitiesOf(value));
    case "DropCapability":
      return one("capabilities", "drop", capabilitiesOf(value));
    case "PidsLimit":
      return one("limits", "pids", numberOf(value));
    case "Memory":
    case "MemoryMax":
      return one("limits", "memory", mebibytesOf(value));
    case "CPUQuota":
      return /^[0-9]+%$/.test(value) ? one("limits", "cpus", Number(value.slice(0, -1)) / 100) : undefined;
    case "StopTimeout":
    case "TimeoutStopSec":
      return one("run", "stop_timeout", stopOf(value));
    case "TimeoutStartSec":
      return one("run", "start_timeout", numberOf(`${secondsOf(value)}`));
    case "Restart":
      return one(
        "run",
        "restart",
        new Map([
          ["no", "never"],
          ["always", "always"],
          ["on-failure", "on-failure"],
        ]).get(value),
      );
    default:
      return undefined;
  }
}

/** Seconds that a manifest can say. */
function stopOf(value: string): number | undefined {
  const seconds = secondsOf(value);
  return seconds === undefined || seconds < 1 || seconds > longestStop ? undefined : seconds;
}

/** Joins lists and records, as lines of a quadlet that come again do. */
function merge(before: unknown, more: Fields): Fields {
  const base = recordOf(before) ?? {};
  const joined = Object.entries(more).map(([key, value]) => {
    const old = base[key];
    if (recordOf(old) !== undefined && recordOf(value) !== undefined)
      return [key, { ...recordOf(old), ...recordOf(value) }];
    return [key, Array.isArray(old) && Array.isArray(value) ? [...old, ...value] : value];
  });
  return { ...base, ...Object.fromEntries(joined) };
}

/** What was gathered of capabilities, where a manifest says it: only what differs from what services have. */
function withCapabilities({ capabilities, ...target }: Fields): Fields {
  const isUsualOne = (name: unknown) => defaultCapabilities.some((one) => one === name);
  const named = recordOf(capabilities) ?? {};
  const add = listOf(named["add"]).filter((name) => !isUsualOne(name));
  const drop = listOf(named["drop"]).filter(isUsualOne);
  if (add.length + drop.length === 0) return target;
  const both = { ...(add.length === 0 ? {} : { add }), ...(drop.length === 0 ? {} : { drop }) };
  return { ...target, security: { ...recordOf(target["security"]), capabilities: both } };
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
      const options = mode.split(",").filter((one) => !["", "ro", "rw"].includes(one));
      if (options.length > 0)
        unmapped.push(`Volume ${label}: ${options.join(",")} has no counterpart in a manifest`);
      target = merge(target, { storage: [mount] });
      storage.push({ label, persistent: true, nsgroup: name, size: "1G", enforce: true });
      unmapped.push(`Volume ${label}: a quadlet says no size; 1G is a guess`);
    } else if (found !== undefined) {
      target =
        found.section === ""
          ? { ...target, ...found.more }
          : { ...target, [found.section]: merge(target[found.section], found.more) };
    } else if (!isUsual(line, name))
      unmapped.push(`[${section}] ${key}=${value}: has no counterpart in a manifest`);
  }
  target = withCapabilities(target);
  if (target["source"] === "") unmapped.push("[Container] Image: there is none; let source be rootfs:DIR");
  return { targets: [target], storage, unmapped };
}
