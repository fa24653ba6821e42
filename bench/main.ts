// ./dev bench: what mos costs, next to what others cost for the same work on the same bytes in the same minutes.
// It measures and prints; it judges nothing and fails for nothing but a wrong result.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { addKeyset, addProject } from "../src/trust/keyset.ts";
import { buildExecutable } from "../tools/build.ts";
import { toolsRoot } from "../tools/roots.ts";
import { say } from "../tools/say.ts";
import { checkout } from "../tools/stamp.ts";
import { agentAtBoot } from "./agent-at-boot.ts";
import { bootOfAMachine } from "./boot.ts";
import { deltaOfAnUpdate } from "./delta.ts";
import { fetching } from "./fetching.ts";
import { imageBuilds } from "./image.ts";
import { readableTree } from "./readable-tree.ts";
import { services } from "./services.ts";
import { signedFiles } from "./signed.ts";
import { startUp } from "./start.ts";
import type { Bench, Subject } from "./subject.ts";
import { tpmOperations } from "./tpm.ts";
import { trustOfABoot } from "./trust.ts";
import { updates } from "./update.ts";
import { verification } from "./verification.ts";

function show({ title, headings, rows }: Subject): string {
  const widths = headings.map((heading, i) =>
    Math.max(heading.length, ...rows.map((row) => row[i]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd();
  return `\n${title}\n${[line(headings), ...rows.map(line)].map((text) => `  ${text}`).join("\n")}\n`;
}

/** Runs the benchmarks of these names, or all; median (min–max). */
export async function bench({ json, only }: { readonly json: boolean; readonly only: readonly string[] }) {
  const work = await mkdtemp(join(tmpdir(), "mos-bench-"));
  try {
    const children = join(work, "children.cjs");
    await build({
      entryPoints: [join(checkout, "bench/children.ts")],
      bundle: true,
      platform: "node",
      format: "cjs",
      minify: true,
      target: "node26",
      outfile: children,
      logLevel: "error",
    });
    const subject: Bench = {
      work,
      children,
      mos: await buildExecutable("release"),
      tools: await toolsRoot(),
    };
    const keys = join(work, "keys");
    await addKeyset({ root: keys, name: "bench", organizations: [], keyType: "rsa2048" });
    await addProject(keys, "bench", "zot");
    const subjects: Subject[] = [];
    const measurements = [
      ["start", startUp],
      ["boot", agentAtBoot],
      ["machine", bootOfAMachine],
      ["verification", verification],
      ["trust", async ({ work: directory }: Bench) => await trustOfABoot(directory)],
      ["tpm", async ({ work }: Bench) => await tpmOperations(work)],
      ["fetching", fetching],
      ["tree", readableTree],
      ["updates", updates],
      ["services", services],
      ["image", async ({ work: directory }: Bench) => await imageBuilds(directory)],
      ["delta", async ({ work: directory }: Bench) => await deltaOfAnUpdate(directory)],
      [
        "signed",
        async ({ mos, work: directory }: Bench) => {
          const all: Subject[] = [];
          for await (const one of signedFiles(mos, join(directory, "signed"))) all.push(one);
          return all;
        },
      ],
    ] as const;
    const unknown = only.find((name) => !measurements.some(([known]) => known === name));
    if (unknown !== undefined) {
      throw new Error(`there is no benchmark ${unknown}: ${measurements.map(([known]) => known).join(", ")}`);
    }
    for (const [name, measure] of measurements) {
      if (only.length > 0 && !only.includes(name)) continue;
      say(`measuring: ${name}`);
      const measured = await measure(subject);
      for (const result of Array.isArray(measured) ? measured : [measured]) {
        subjects.push(result);
        if (!json) process.stdout.write(show(result));
      }
    }
    if (json) process.stdout.write(`${JSON.stringify(subjects, null, 2)}\n`);
    return true;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
