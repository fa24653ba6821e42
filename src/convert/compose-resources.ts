// Keys of a compose service that say what it is connected to, what it can use, and what it may do.
import { defaultCapabilities } from "../services/security.ts";
import { type Draft, field, into, leftOver, noCounterpart, numberOf, type Rules } from "./compose-draft.ts";
import { listOf, mebibytesOf, portOf, recordOf, textOf } from "./model.ts";

function ports(value: unknown, draft: Draft): void {
  const found = listOf(value).flatMap((item) => {
    const long = recordOf(item);
    if (long !== undefined)
      leftOver("ports", long, ["host_ip", "published", "target", "protocol", "mode", "name"], draft);
    const short =
      long === undefined
        ? (textOf(item) ?? "")
        : `${long["host_ip"] === undefined ? "" : `${textOf(long["host_ip"])}:`}${textOf(long["published"])}:${textOf(long["target"])}/${textOf(long["protocol"]) ?? "tcp"}`;
    const port = portOf(short);
    if (port === undefined)
      draft.miss(`ports ${short}`, "has no port of the host, or is of a form that a manifest has not");
    return port === undefined ? [] : [port];
  });
  into(draft, "network", { type: "simple", ports: found });
}

function expose(value: unknown, draft: Draft): void {
  const exposed = listOf(value).flatMap((item) => {
    const of = textOf(item) ?? "";
    const isPort = /^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?(\/(tcp|udp))?$/.test(of);
    if (!isPort) draft.miss(`expose ${of}`, "is of a form that a manifest has not");
    return isPort ? [of.includes("/") ? of : `${of}/tcp`] : [];
  });
  if (exposed.length > 0) into(draft, "image", { exposed_ports: exposed });
}

function volumes(value: unknown, draft: Draft): void {
  draft.fields["storage"] = listOf(value).flatMap((item) => {
    const long = recordOf(item);
    const [source = "", dest = "", mode = ""] =
      long === undefined
        ? (textOf(item) ?? "").split(":")
        : [
            textOf(long["source"]) ?? "",
            textOf(long["target"]) ?? "",
            long["read_only"] === true ? "ro" : "",
          ];
    if (dest === "" || !/^[A-Za-z0-9]/.test(source) || (long !== undefined && long["type"] !== "volume")) {
      draft.miss(
        `volumes ${source}`,
        "is not a named volume; a device has no files of yours: use files, secrets or a volume",
      );
      return [];
    }
    if (long !== undefined)
      leftOver(`volumes ${source}`, long, ["type", "source", "target", "read_only"], draft);
    const options = mode.split(",").filter((one) => !["", "ro", "rw"].includes(one));
    if (options.length > 0) draft.miss(`volumes ${source} ${options.join(",")}`, noCounterpart);
    draft.useVolume(source);
    return [{ dest, label: source, ...(mode.split(",").includes("ro") ? { read_only: true } : {}) }];
  });
}

function deploy(value: unknown, draft: Draft): void {
  const record = recordOf(value) ?? {};
  const resources = recordOf(record["resources"]) ?? {};
  const limits = recordOf(resources["limits"]) ?? {};
  leftOver("deploy", record, ["resources"], draft);
  leftOver("deploy.resources", resources, ["limits"], draft);
  leftOver("deploy.resources.limits", limits, ["memory", "cpus", "pids"], draft);
  const readers = { memory: mebibytesOf, cpus: numberOf, pids: numberOf };
  for (const [key, read] of Object.entries(readers))
    if (limits[key] !== undefined)
      field(`deploy.resources.limits.${key}`, "limits", key, read)(limits[key], draft);
}

function namesOf(value: unknown): string[] {
  return listOf(value).map((item) => (textOf(item) ?? "").toUpperCase().replace(/^CAP_/, ""));
}

function capabilities(_: unknown, draft: Draft): void {
  const [add, drop] = [namesOf(draft.service["cap_add"]), namesOf(draft.service["cap_drop"])];
  if (add.includes("ALL")) draft.miss("cap_add ALL", "every capability has to be named");
  const named = add.filter((name) => name !== "ALL");
  const dropped = drop.includes("ALL")
    ? defaultCapabilities.filter((name) => !named.includes(name))
    : drop.filter((name) => defaultCapabilities.includes(name));
  const added = named.filter((name) => !defaultCapabilities.includes(name));
  const both = {
    ...(added.length === 0 ? {} : { add: added }),
    ...(dropped.length === 0 ? {} : { drop: dropped }),
  };
  if (Object.keys(both).length > 0) into(draft, "security", { capabilities: both });
}

function securityOptions(value: unknown, draft: Draft): void {
  for (const option of listOf(value).map((item) => textOf(item) ?? "")) {
    if (/^no-new-privileges([:=]true)?$/.test(option)) continue;
    if (/^no-new-privileges[:=]false$/.test(option)) into(draft, "security", { no_new_privileges: false });
    else if (/^seccomp[=:]unconfined$/.test(option)) into(draft, "security", { seccomp: "unconfined" });
    else draft.miss(`security_opt ${option}`, "has no counterpart");
  }
}

function devices(value: unknown, draft: Draft): void {
  const found = listOf(value).flatMap((item) => {
    const [path = "", inside = path, mode = "rwm"] = (textOf(item) ?? "").split(":");
    if (path !== inside || textOf(item) === undefined) {
      draft.miss(`devices ${path}`, "would have another path inside");
      return [];
    }
    // `m`, to make the device: it is there.
    const access = mode.replace("m", "");
    return [{ path, ...(access === "r" || access === "w" ? { access } : {}) }];
  });
  if (found.length > 0) into(draft, "security", { devices: found });
}

function networkMode(value: unknown, draft: Draft): void {
  const mode = textOf(value) ?? "";
  if (mode === "host" || mode === "none") into(draft, "network", { type: mode });
  else if (mode !== "bridge") draft.miss(`network_mode ${mode}`, "has no counterpart");
}

/** Which networks are the same is for hosts (compose.ts); what a service is on each of them cannot be said. */
function networks(value: unknown, draft: Draft): void {
  for (const [name, of] of Object.entries(recordOf(value) ?? {}))
    leftOver(`networks.${name}`, recordOf(of) ?? {}, [], draft);
}

export const resourceRules: Rules = {
  ports,
  expose,
  volumes,
  deploy,
  mem_limit: field("mem_limit", "limits", "memory", mebibytesOf),
  cpus: field("cpus", "limits", "cpus", numberOf),
  pids_limit: field("pids_limit", "limits", "pids", numberOf),
  cap_add: capabilities,
  cap_drop: (value, draft) => {
    // Looked at together, whichever comes first.
    if (draft.service["cap_add"] === undefined) capabilities(value, draft);
  },
  read_only: (value, draft) => into(draft, "security", { read_only: value === true }),
  security_opt: securityOptions,
  devices,
  dns: (value, draft) => into(draft, "network", { dns: listOf(value) }),
  network_mode: networkMode,
  networks,
};
