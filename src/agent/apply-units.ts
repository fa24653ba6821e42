// Makes the running system's units those of a generation. Everything written is below /run; systemd does the
// rest. Can be stopped at any instant and repeated: a marker says that it was begun and not finished.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { systemCode } from "../errors/mos-error.ts";
import { isEmptyPlan, type LiveUnit, planActivation } from "../generation/plan.ts";
import type { RenderedUnit } from "../services/model.ts";
import { type Places, targetUnit } from "../services/unit-names.ts";
import { fault } from "../system/fault.ts";
import { bootLink } from "../systemd/boot-transaction.ts";
import { escapePath } from "../systemd/escape.ts";
import type { AgentContext } from "./context.ts";

export interface Applied {
  readonly changed: boolean;
  /** Services that were restarted because something of theirs changed. */
  readonly restarted: readonly string[];
  /** Unit files written and removed. */
  readonly written: number;
  readonly removed: number;
}

/** Whether a file name in systemd's or quadlet's directory is one that mos rendered. */
function isOurs(kind: RenderedUnit["kind"], name: string, places: Places): boolean {
  if (kind === "quadlet") return /^mos-.+\.(container|network)$/.test(name);
  if (name.startsWith(`${escapePath(places.run)}-`)) return name.endsWith(".mount");
  return (
    /^mos-(layer|svc|scratch|volume)-.+\.service$/.test(name) || name === targetUnit || name === "mos.slice"
  );
}

function directoryOf(context: AgentContext, kind: RenderedUnit["kind"]): string {
  return kind === "quadlet" ? context.quadletDirectory : context.unitDirectory;
}

function readLive(context: AgentContext): LiveUnit[] {
  return (["systemd", "quadlet"] as const).flatMap((kind) => {
    const directory = directoryOf(context, kind);
    let names: string[];
    try {
      names = readdirSync(directory);
    } catch (error) {
      if (systemCode(error) === "ENOENT") return [];
      throw error;
    }
    return names
      .filter((name) => isOurs(kind, name, context.places))
      .map((name) => ({ kind, name, content: readFileSync(join(directory, name), "utf8") }));
  });
}

function markerPath({ run }: Places): string {
  return join(run, "activation-pending");
}

function isPending(context: AgentContext): boolean {
  try {
    readFileSync(markerPath(context.places));
    return true;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw error;
  }
}

/** What the system is to be. */
interface Desired {
  readonly units: readonly RenderedUnit[];
  /** What must run in the end. */
  readonly wanted: readonly string[];
  /** Services that must be restarted although their files are the same. */
  readonly disturbed: readonly string[];
}

/**
 * Applies the units of a generation.
 * @param mode `boot` starts without waiting (the boot itself would wait for us), `trial` too, because somebody else
 * watches what becomes of it; `wait` returns when every unit is up or has failed
 * @throws MosError `systemd-failed`
 */
export async function applyUnits(
  context: AgentContext,
  { units, wanted, disturbed }: Desired,
  mode: "boot" | "trial" | "wait",
): Promise<Applied> {
  const plan = planActivation(readLive(context), units, context.places, disturbed);
  if (isEmptyPlan(plan) && !isPending(context)) {
    const down = mode === "wait" ? await inactiveUnits(context, wanted) : [];
    await context.systemd.startUnits(down);
    return { changed: down.length > 0, restarted: [], written: 0, removed: 0 };
  }
  mkdirSync(dirname(markerPath(context.places)), { recursive: true });
  writeFileSync(markerPath(context.places), "");
  await fault("apply.stop");
  await context.systemd.stopUnits(units.length === 0 ? [targetUnit, ...plan.stop] : plan.stop);
  await fault("apply.write");
  writeFiles(context, plan.write, plan.remove);
  await fault("apply.reload");
  await context.systemd.daemonReload();
  await fault("apply.start");
  const start = units.length === 0 ? [] : [targetUnit, ...wanted];
  if (mode === "trial") await context.systemd.resetFailed(start);
  await (mode === "wait" ? context.systemd.startUnits(start) : context.systemd.startUnitsNoBlock(start));
  rmSync(markerPath(context.places), { force: true });
  await fault("apply.end");
  return {
    changed: true,
    restarted: plan.affectedServices,
    written: plan.write.length,
    removed: plan.remove.length,
  };
}

/** Those units that are not up. A person who asks for a manifest wants all of it to run. */
async function inactiveUnits({ systemd }: AgentContext, units: readonly string[]): Promise<string[]> {
  const shown = await systemd.showUnits(units, ["Id", "ActiveState"]);
  return shown.flatMap((unit) => (unit["ActiveState"] === "active" ? [] : [unit["Id"] ?? ""]));
}

function writeFiles(
  context: AgentContext,
  write: readonly RenderedUnit[],
  remove: readonly LiveUnit[],
): void {
  mkdirSync(context.unitDirectory, { recursive: true });
  mkdirSync(context.quadletDirectory, { recursive: true });
  for (const { kind, name, content } of write) writeFileSync(join(directoryOf(context, kind), name), content);
  for (const { kind, name } of remove) {
    rmSync(join(directoryOf(context, kind), name), { force: true });
    rmSync(bootLink(context.unitDirectory, name), { force: true });
  }
}
