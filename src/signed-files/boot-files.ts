// The signed files that every boot installs: each configuration of /etc/validator/boot.d for itself, strictly, with what
// came of it.
import { existsSync } from "node:fs";
import type { ErrorCode } from "../errors/catalogue.ts";
import { fromText, toText } from "./byte-path.ts";
import type { Run } from "./engine.ts";
import { configsIn, installConfigs } from "./install-config.ts";

/** Where the root has the configurations. */
export const bootDirectory = "/etc/validator/boot.d";

interface Problem {
  readonly code: ErrorCode;
  readonly message: string;
}

/** What came of one configuration, or of all of them where the directory itself is wrong. */
export interface ConfigOutcome {
  readonly config: string;
  /** `no-source`: nothing is there to be installed yet; `refused`: nothing of it was installed. */
  readonly outcome: "installed" | "unchanged" | "no-source" | "refused";
  /** Destinations that were written. */
  readonly written: readonly string[];
  readonly problems: readonly Problem[];
}

/** Gathers what a run says. */
class Gathering {
  readonly written: string[] = [];
  readonly problems: Problem[] = [];
  readonly problem = (code: ErrorCode, message: string): void => {
    this.problems.push({ code, message });
  };
  readonly info = (): void => undefined;
  readonly installed = (destination: string): void => {
    this.written.push(destination);
  };

  outcome(config: string, isWell: boolean): ConfigOutcome {
    const { written, problems } = this;
    if (isWell) return { config, outcome: written.length > 0 ? "installed" : "unchanged", written, problems };
    const isMissing = problems.length > 0 && problems.every(({ code }) => code === "signed-source-missing");
    return { config, outcome: isMissing ? "no-source" : "refused", written, problems };
  }
}

/** Installs what the configurations of a directory say, one after the other. Never throws but for a defect. */
export async function installBootFiles(directory: string): Promise<readonly ConfigOutcome[]> {
  if (!existsSync(directory)) return [];
  const runWith = (report: Gathering): Run => ({ cwd: fromText("/"), strict: true, report });
  const whole = new Gathering();
  const configs = configsIn(runWith(whole), fromText(directory));
  if (configs === undefined) return [whole.outcome(directory, false)];
  const outcomes: ConfigOutcome[] = [];
  for (const config of configs) {
    const one = new Gathering();
    outcomes.push(one.outcome(toText(config), await installConfigs(runWith(one), [config], [])));
  }
  return outcomes;
}
