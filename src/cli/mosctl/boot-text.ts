// How this boot began, in words: what the initrd did, and what was left to the agent.
import type { BootStatus, Status } from "../../agent/status-model.ts";
import { escapeControls } from "../output.ts";

const outcomeTexts: Readonly<Record<BootStatus["initrd"]["outcome"], string>> = {
  applied: "services are part of it since the initrd",
  "unhealthy-fallback":
    "services are part of it since the initrd, of a generation before the one that was to run",
  "no-generation": "the initrd found that nothing has been applied yet",
  "no-state": "the initrd did not find the device's state",
  refused: "the initrd refused the generation",
  failed: "the initrd could not bring the services up",
  interrupted: "what mos does in the initrd was interrupted",
};

const serviceTexts: Readonly<Record<NonNullable<BootStatus["service"]>, string>> = {
  "nothing-to-do": "nothing was left to do",
  applied: "the agent brought up what was missing",
  unchanged: "the agent found everything in place",
  "no-generation": "the agent found nothing to bring up",
  refused: "the agent refused the generation too",
};

/** Undefined where the initrd has no stage of mos. */
export function bootText(boot: BootStatus | undefined): string | undefined {
  if (boot === undefined) return undefined;
  const { initrd, service } = boot;
  const why = initrd.error === undefined ? "" : ` (${initrd.error.message})`;
  const after = service === undefined ? "the agent has not started yet" : serviceTexts[service];
  return `${initrd.outcome}: ${outcomeTexts[initrd.outcome]}${why}; ${after}`;
}

const filesTexts: Readonly<Record<NonNullable<BootStatus["files"]>["outcome"], string>> = {
  installed: "installed in the initrd",
  unchanged: "the initrd found them in place",
  incomplete: "the initrd did not install all of them",
  "no-state": "the initrd did not find the device's state, and installed none",
};

/** Undefined where the initrd had nothing to do with signed files. */
export function filesText(files: BootStatus["files"]): string | undefined {
  if (files === undefined) return undefined;
  const ofConfigs = files.configs.flatMap(({ config, outcome, problems: [first] }) =>
    first === undefined ? [] : [`${config}: ${outcome}: ${first.message} (${first.code})`],
  );
  const { later } = files.levels;
  const why = [
    ...ofConfigs,
    ...files.problems.map(({ message, code }) => `${message} (${code})`),
    ...(later.length === 0 ? [] : [`left to the running system: ${later.join(", ")}`]),
  ];
  return [`${files.outcome}: ${filesTexts[files.outcome]}`, ...why].map(escapeControls).join("; ");
}

/** Lines for sets in levels: what comes from where. */
export function setTexts({ sets = [] }: Status): [string, string][] {
  return sets.map(({ name, destination, levels, error }) => {
    if (error !== undefined) return ["signed sets", escapeControls(`${error.message} (${error.code})`)];
    const texts = levels.map(({ level, serial, source, files, paths: [first] }) => {
      const what = files === 1 && first !== undefined ? first : `${files} files`;
      return `${what} of ${level} (serial ${serial}${source === "image" ? ", with the image" : ""})`;
    });
    return [`set ${name}`, escapeControls(`${destination}: ${texts.join(", ")}`)];
  });
}
