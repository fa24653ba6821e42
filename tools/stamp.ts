// What a build is called and when it "was": both from the commit, so that the same commit gives the same bytes.
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { run } from "../src/system/process.ts";

/** The checkout that this program belongs to. */
export const checkout = resolve(import.meta.dirname, "..");

export interface Stamp {
  /** For example `0.1.0+g0123456789ab`; a checkout with changes adds `.dirty`. */
  readonly version: string;
  /** Seconds since 1970 of the commit. */
  readonly time: number;
}

/** `faults`: has the fault points of src/system/fault.ts, for tests; its version says so. */
export type Flavour = "release" | "faults";

/** The stamp of a flavour. */
export function flavoured(stamp: Stamp, flavour: Flavour): Stamp {
  if (flavour === "release") return stamp;
  return { ...stamp, version: `${stamp.version}${stamp.version.includes("+") ? "." : "+"}faults` };
}

/** Where a flavour is built. */
export function outputDirectory(flavour: Flavour): string {
  return flavour === "release" ? join(checkout, "dist") : join(checkout, "dist", flavour);
}

/** Reads the stamp from package.json and git; without git, the version alone and 1970. */
export async function readStamp(): Promise<Stamp> {
  const { version }: { version: string } = JSON.parse(readFileSync(join(checkout, "package.json"), "utf8"));
  const git = async (...args: string[]): Promise<string> =>
    (await run("git", ["-c", `safe.directory=${checkout}`, "-C", checkout, ...args])).stdout.trim();
  try {
    const commit = await git("rev-parse", "--short=12", "HEAD");
    const dirty = (await git("status", "--porcelain")) === "" ? "" : ".dirty";
    return {
      version: `${version}+g${commit.slice(0, 12)}${dirty}`,
      time: Number(await git("log", "-1", "--format=%ct")),
    };
  } catch {
    return { version, time: 0 };
  }
}
