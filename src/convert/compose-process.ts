// Keys of a compose service that say what runs, and how it begins and ends.
import {
  type Draft,
  into,
  leftOver,
  only,
  pairsOf,
  type Rule,
  type Rules,
  text,
  words,
} from "./compose-draft.ts";
import { listOf, recordOf, secondsOf, sourceOf, textOf, versionOf } from "./model.ts";

function argv(key: "entrypoint" | "cmd", from: string): Rule {
  return (value, draft) => {
    const found = words(value);
    if (found === undefined)
      draft.miss(from, "needs a shell: write it as a list that begins with /bin/sh, -c");
    else into(draft, "image", { [key]: found });
  };
}

/** Most seconds that a manifest gives a service to stop in. */
const longestStop = 60;

function environment(value: unknown, draft: Draft): void {
  const all = pairsOf(value);
  for (const [name, of] of all)
    if (of === undefined)
      draft.miss(`environment.${name}`, "takes its value from whoever calls, and a device has nobody");
  into(draft, "image", {
    env: all.flatMap(([name, of]) => (of === undefined ? [] : [`${name}=${of}`])),
  });
}

function labels(value: unknown, draft: Draft): void {
  const all = pairsOf(value).map(([name, of]) => [name, of ?? ""] as const);
  into(draft, "image", { labels: Object.fromEntries(all) });
}

function dependsOn(value: unknown, draft: Draft): void {
  const conditions = new Map([
    ["service_started", "started"],
    ["service_healthy", "healthy"],
    ["service_completed_successfully", "completed"],
  ]);
  const record = recordOf(value);
  draft.fields["depends_on"] =
    record === undefined
      ? listOf(value)
      : Object.entries(record).map(([service, of]) => {
          const how = recordOf(of) ?? {};
          const asked = textOf(how["condition"]) ?? "service_started";
          const condition = conditions.get(asked);
          if (condition === undefined)
            draft.miss(`depends_on.${service} ${asked}`, "is no condition of a manifest");
          if (how["required"] === false)
            draft.miss(`depends_on.${service}.required`, "a service waits for every one that it depends on");
          // `restart: true` is what a manifest does anyway.
          leftOver(`depends_on.${service}`, how, ["condition", "required", "restart"], draft);
          return { service, condition: condition ?? "started" };
        });
}

function restart(value: unknown, draft: Draft): void {
  const policies = new Map([
    ["no", "never"],
    ["false", "never"],
    ["always", "always"],
    ["unless-stopped", "always"],
    ["on-failure", "on-failure"],
  ]);
  const asked = textOf(value) ?? "";
  const [name = "", times] = asked.split(":");
  const policy = policies.get(name);
  if (policy === undefined) {
    draft.miss(`restart ${asked}`, "is no policy of a manifest");
    return;
  }
  if (times !== undefined)
    draft.miss(`restart ${asked}`, "a service is begun again until it fails ten times in a minute");
  into(draft, "run", { restart: policy });
}

function healthcheck(value: unknown, draft: Draft): void {
  const check = recordOf(value) ?? {};
  const test = listOf(check["test"]).map((item) => textOf(item) ?? "");
  if (test[0] === "NONE" || check["disable"] === true) {
    into(draft, "image", { healthcheck: "none" });
    return;
  }
  if (test.length === 0) {
    draft.miss("healthcheck", "changes the image's own check, which a manifest says whole: add health.exec");
    return;
  }
  const exec =
    test[0] === "CMD"
      ? test.slice(1)
      : ["/bin/sh", "-c", test[0] === "CMD-SHELL" ? (test[1] ?? "") : (test[0] ?? "")];
  if (exec[0]?.startsWith("/") !== true) {
    draft.miss("healthcheck.test", "needs the program's absolute path");
    return;
  }
  const times = (["interval", "timeout", "start_period"] as const).flatMap((key) => {
    if (check[key] === undefined) return [];
    const seconds = secondsOf(textOf(check[key]) ?? "");
    if (seconds === undefined) draft.miss(`healthcheck.${key} ${textOf(check[key])}`, "is not whole seconds");
    return seconds === undefined ? [] : [[key, seconds]];
  });
  leftOver(
    "healthcheck",
    check,
    ["test", "disable", "interval", "timeout", "start_period", "retries"],
    draft,
  );
  draft.fields["health"] = {
    exec,
    ...Object.fromEntries(times),
    ...(check["retries"] === undefined ? {} : { retries: Number(check["retries"]) }),
  };
}

function stopGracePeriod(value: unknown, draft: Draft): void {
  const asked = textOf(value) ?? "";
  const seconds = secondsOf(asked);
  if (seconds === undefined) {
    draft.miss(`stop_grace_period ${asked}`, "is not whole seconds");
    return;
  }
  if (seconds > longestStop)
    draft.miss(`stop_grace_period ${asked}`, `is more than ${longestStop}s, the most there is`);
  into(draft, "run", { stop_timeout: Math.min(longestStop, Math.max(1, seconds)) });
}

/** Whether a name is the service's own, by which mos calls it. */
const isOwnName = (value: unknown, { name }: Draft) => textOf(value) === name;
const isFalse = (value: unknown) => value === false;

export const processRules: Rules = {
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
  environment,
  labels,
  depends_on: dependsOn,
  restart,
  healthcheck,
  stop_grace_period: stopGracePeriod,
  container_name: only("container_name", isOwnName, "a container is called mos- and its service's name"),
  hostname: only("hostname", isOwnName, "a service has its own name as that of its host"),
  init: only("init", isFalse, "there is no init beside the program: let the image bring one, such as tini"),
  tty: only("tty", isFalse, "nobody sits at a device; mosctl exec gives a terminal"),
  stdin_open: only("stdin_open", isFalse, "nobody types into a service"),
  logging: only("logging", () => false, "what services write is in the journal of the device: mosctl logs"),
  profiles: only("profiles", (value) => listOf(value).length === 0, "a manifest's services always start"),
};
