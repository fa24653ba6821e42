// A compose file (the Compose Specification) as far as a manifest can say it. Pure.
import {
  type Converted,
  type Fields,
  listOf,
  mebibytesOf,
  portOf,
  recordOf,
  secondsOf,
  sourceOf,
  textOf,
  versionOf,
  wordsOf,
} from "./model.ts";

/** MiB of a volume, which compose does not say. */
const guessedSize = "1G";

/** What one service is put together from. */
interface Draft {
  readonly name: string;
  readonly fields: Fields;
  readonly miss: (key: string, why: string) => void;
  readonly useVolume: (label: string) => void;
}

/** One key of a compose service: puts what it means into the draft, or says why not. */
type Rule = (value: unknown, draft: Draft) => void;

function into(draft: Draft, section: string, more: Fields): void {
  draft.fields[section] = { ...recordOf(draft.fields[section]), ...more };
}

function words(value: unknown): string[] | undefined {
  if (typeof value === "string") return wordsOf(value);
  return Array.isArray(value) ? value.map((item) => textOf(item) ?? "") : undefined;
}

function argv(key: "entrypoint" | "cmd", from: string): Rule {
  return (value, draft) => {
    const found = words(value);
    if (found === undefined)
      draft.miss(from, "needs a shell: write it as a list that begins with /bin/sh, -c");
    else into(draft, "image", { [key]: found });
  };
}

function text(section: string, key: string): Rule {
  return (value, draft) => into(draft, section, { [key]: textOf(value) });
}

const rules: Readonly<Record<string, Rule>> = {
  image: (value, draft) => {
    const image = textOf(value) ?? "";
    draft.fields["source"] = sourceOf(image);
    draft.fields["version"] = versionOf(image);
  },
  command: argv("cmd", "command"),
  entrypoint: argv("entrypoint", "entrypoint"),
  user: text("image", "user"),
  working_dir: text("image", "working_dir"),
  stop_signal: text("image", "stop_signal"),
  environment: (value, draft) => {
    const record = recordOf(value);
    const all =
      record === undefined
        ? listOf(value).map((item) => textOf(item) ?? "")
        : Object.entries(record).map(([name, of]) => `${name}=${textOf(of) ?? ""}`);
    for (const variable of all.filter((one) => !one.includes("=")))
      draft.miss(`environment.${variable}`, "takes its value from whoever calls, and a device has nobody");
    into(draft, "image", { env: all.filter((one) => one.includes("=")) });
  },
  ports: (value, draft) => {
    const ports = listOf(value).flatMap((item) => {
      const long = recordOf(item);
      const short =
        long === undefined
          ? (textOf(item) ?? "")
          : `${long["host_ip"] === undefined ? "" : `${textOf(long["host_ip"])}:`}${textOf(long["published"])}:${textOf(long["target"])}/${textOf(long["protocol"]) ?? "tcp"}`;
      const port = portOf(short);
      if (port === undefined)
        draft.miss(`ports ${short}`, "has no port of the host, or is of a form that a manifest has not");
      return port === undefined ? [] : [port];
    });
    into(draft, "network", { type: "simple", ports });
  },
  volumes: (value, draft) => {
    const mounts = listOf(value).flatMap((item) => {
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
      draft.useVolume(source);
      return [{ dest, label: source, ...(mode.split(",").includes("ro") ? { read_only: true } : {}) }];
    });
    draft.fields["storage"] = mounts;
  },
  depends_on: (value, draft) => {
    const conditions: Readonly<Record<string, string>> = {
      service_started: "started",
      service_healthy: "healthy",
      service_completed_successfully: "completed",
    };
    const record = recordOf(value);
    draft.fields["depends_on"] =
      record === undefined
        ? listOf(value)
        : Object.entries(record).map(([service, how]) => ({
            service,
            condition: conditions[textOf(recordOf(how)?.["condition"]) ?? ""] ?? "started",
          }));
  },
  restart: (value, draft) => {
    const policies: Readonly<Record<string, string>> = {
      no: "never",
      false: "never",
      always: "always",
      "unless-stopped": "always",
    };
    const policy = textOf(value) ?? "";
    into(draft, "run", { restart: policies[policy] ?? "on-failure" });
  },
  mem_limit: (value, draft) => into(draft, "limits", { memory: mebibytesOf(textOf(value) ?? "") }),
  cpus: (value, draft) => into(draft, "limits", { cpus: Number(value) }),
  pids_limit: (value, draft) => into(draft, "limits", { pids: Number(value) }),
  deploy: (value, draft) => {
    const limits = recordOf(recordOf(recordOf(value)?.["resources"])?.["limits"]) ?? {};
    const memory = mebibytesOf(textOf(limits["memory"]) ?? "");
    into(draft, "limits", {
      ...(memory === undefined ? {} : { memory }),
      ...(limits["cpus"] === undefined ? {} : { cpus: Number(limits["cpus"]) }),
      ...(limits["pids"] === undefined ? {} : { pids: Number(limits["pids"]) }),
    });
  },
  cap_add: (value, draft) => capabilities("add", value, draft),
  cap_drop: (value, draft) => capabilities("drop", value, draft),
  read_only: (value, draft) => into(draft, "security", { read_only: value === true }),
  security_opt: (value, draft) => {
    for (const option of listOf(value).map((item) => textOf(item) ?? "")) {
      if (/^no-new-privileges(:true)?$/.test(option)) continue;
      if (/^seccomp[=:]unconfined$/.test(option)) into(draft, "security", { seccomp: "unconfined" });
      else draft.miss(`security_opt ${option}`, "has no counterpart");
    }
  },
  devices: (value, draft) => {
    const devices = listOf(value).flatMap((item) => {
      const [path = "", inside = path] = (textOf(item) ?? "").split(":");
      if (path !== inside) draft.miss(`devices ${path}`, "would have another path inside");
      return path === inside ? [{ path }] : [];
    });
    if (devices.length > 0) into(draft, "security", { devices });
  },
  dns: (value, draft) => into(draft, "network", { dns: listOf(value) }),
  network_mode: (value, draft) => {
    const mode = textOf(value) ?? "";
    if (mode === "host" || mode === "none") into(draft, "network", { type: mode });
    else if (mode !== "bridge") draft.miss(`network_mode ${mode}`, "has no counterpart");
  },
  stop_grace_period: (value, draft) =>
    into(draft, "run", { stop_timeout: Math.min(60, secondsOf(textOf(value) ?? "") ?? 10) }),
  healthcheck: (value, draft) => {
    const check = recordOf(value) ?? {};
    const test = listOf(check["test"]).map((item) => textOf(item) ?? "");
    const exec =
      test[0] === "CMD"
        ? test.slice(1)
        : ["/bin/sh", "-c", test[0] === "CMD-SHELL" ? (test[1] ?? "") : (test[0] ?? "")];
    if (test[0] === "NONE" || test.length === 0 || check["disable"] === true) return;
    if (exec[0]?.startsWith("/") !== true)
      return draft.miss("healthcheck.test", "needs the program's absolute path");
    const times = (["interval", "timeout", "start_period"] as const).flatMap((key) => {
      const seconds = secondsOf(textOf(check[key]) ?? "");
      return seconds === undefined ? [] : [[key, seconds]];
    });
    draft.fields["health"] = {
      exec,
      ...Object.fromEntries(times),
      ...(check["retries"] === undefined ? {} : { retries: Number(check["retries"]) }),
    };
  },
};

/** Keys that say nothing that matters on a device. */
const silent = new Set([
  "container_name",
  "hostname",
  "init",
  "tty",
  "stdin_open",
  "labels",
  "expose",
  "logging",
  "profiles",
]);

function capabilities(key: "add" | "drop", value: unknown, draft: Draft): void {
  const names = listOf(value).map((item) => (textOf(item) ?? "").toUpperCase().replace(/^CAP_/, ""));
  if (names.includes("ALL")) {
    if (key === "add") draft.miss("cap_add ALL", "every capability has to be named");
    return;
  }
  into(draft, "security", {
    capabilities: { ...recordOf(recordOf(draft.fields["security"])?.["capabilities"]), [key]: names },
  });
}

/** Converts a parsed compose file. */
export function convertCompose(document: Fields): Converted {
  const unmapped: string[] = [];
  const used = new Set<string>();
  const services = recordOf(document["services"]) ?? {};
  const targets = Object.entries(services).map(([name, value]): Fields => {
    const draft: Draft = {
      name,
      fields: { service_name: name, source: "", version: "1", nsgroup: name, network: { type: "simple" } },
      miss: (key, why) => unmapped.push(`services.${name}.${key}: ${why}`),
      useVolume: (label) => used.add(label),
    };
    for (const [key, of] of Object.entries(recordOf(value) ?? {})) {
      const rule = Object.hasOwn(rules, key) ? rules[key] : undefined;
      if (rule !== undefined) rule(of, draft);
      else if (!silent.has(key)) draft.miss(key, "has no counterpart in a manifest");
    }
    if (draft.fields["source"] === "")
      draft.miss("image", "there is none: build it, or let source be rootfs:DIR");
    return draft.fields;
  });
  for (const key of Object.keys(document).filter(
    (one) => !["services", "volumes", "version", "name"].includes(one),
  ))
    unmapped.push(`${key}: has no counterpart in a manifest`);
  const storage = [...used].map((label): Fields => {
    unmapped.push(`volumes.${label}: compose says no size; ${guessedSize} is a guess`);
    const owner = targets.find(({ storage: mounts }) =>
      listOf(mounts).some((mount) => recordOf(mount)?.["label"] === label),
    );
    return { label, persistent: true, nsgroup: owner?.["nsgroup"] ?? "", size: guessedSize, enforce: true };
  });
  return { targets, storage, unmapped };
}
