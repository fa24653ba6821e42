// Makes the running system's units those of a generation. Everything written is below /run; systemd does the
// rest. Can be stopped at any instant and repeated: a marker says that it was begun and not finished.
//
// A service that changes is down only from its stop to its start: systemd has read the new files before, and a target
// holds what both its old and its new form stand on, so that layers are open and networks there when it comes back.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { systemCode } from "../errors/mos-error.ts";
import { type ActivationPlan, isEmptyPlan, type LiveUnit, planActivation } from "../generation/plan.ts";
import type { RenderedUnit, RenderInput } from "../services/model.ts";
import { isOwnFile, type Places, targetUnit, transitionUnit } from "../services/unit-names.ts";
import { fault } from "../system/fault.ts";
import { bootLink } from "../systemd/boot-transaction.ts";
import { formatUnit, raw, unitNames } from "../systemd/unit-file.ts";
import type { AgentContext } from "./context.ts";

export interface Applied {
  readonly changed: boolean;
  /** Services that were restarted because something of theirs changed. */
  readonly restarted: readonly string[];
  /** Unit files written and removed. */
  readonly written: number;
  readonly removed: number;
}

function directoryOf(context: AgentContext, kind: RenderedUnit["kind"]): string {
  return kind === "quadlet" ? context.quadletDirectory : context.unitDirectory;
}

/** Who makes services of this device's containers. */
export function podmanUnits({ withoutQuadlet }: AgentContext): RenderInput["podmanUnits"] {
  return existsSync(withoutQuadlet) ? "by-mos" : "by-quadlet";
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
      .filter((name) => isOwnFile(kind, name, context.places))
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
  await (units.length === 0
    ? takeDown(context, plan)
    : replace(context, plan, [targetUnit, ...wanted], mode));
  rmSync(markerPath(context.places), { force: true });
  await fault("apply.end");
  return {
    changed: true,
    restarted: plan.affectedServices,
    written: plan.write.length,
    removed: plan.remove.length,
  };
}

async function takeDown(context: AgentContext, { stop, release, remove }: ActivationPlan): Promise<void> {
  await fault("apply.stop");
  await context.systemd.stopUnits([targetUnit, transitionUnit, ...stop]);
  await context.systemd.stopUnits(release);
  removeFiles(context, remove);
  await context.systemd.daemonReload();
}

async function replace(
  context: AgentContext,
  { write, remove, stop, hold, release }: ActivationPlan,
  start: readonly string[],
  mode: "boot" | "trial" | "wait",
): Promise<void> {
  const { systemd } = context;
  // One that is still there was left by an agent that died.
  const isOverlap = stop.length > 0 || remove.some(({ name }) => name === transitionUnit);
  await fault("apply.write");
  writeFiles(context, isOverlap ? [...write, transitionTarget(hold)] : write);
  // Before systemd reads the new files, by which nothing needs the old layers any more.
  if (isOverlap) await systemd.startUnits([transitionUnit]);
  await fault("apply.reload");
  await systemd.daemonReload();
  await fault("apply.stop");
  await systemd.stopUnits(stop);
  await fault("apply.start");
  if (mode === "trial") await systemd.resetFailed(start);
  await (mode === "wait" ? systemd.startUnits(start) : systemd.startUnitsNoBlock(start));
  if (isOverlap) await systemd.stopUnits([transitionUnit, ...release]);
  // systemd need not be told: nothing of these files runs, and it forgets them by itself.
  removeFiles(context, isOverlap ? [...remove, transitionTarget(hold)] : remove);
}

function transitionTarget(hold: readonly string[]): RenderedUnit {
  const content = formatUnit([
    {
      name: "Unit",
      entries: [
        ["Description", raw("mos, from one generation to another")],
        ["DefaultDependencies", raw("no")],
        ...(hold.length === 0 ? [] : [["Wants", unitNames(...hold)] as const]),
      ],
    },
  ]);
  return { kind: "systemd", name: transitionUnit, content, services: [] };
}

/** Those units that are not up. A person who asks for a manifest wants all of it to run. */
async function inactiveUnits({ systemd }: AgentContext, units: readonly string[]): Promise<string[]> {
  const shown = await systemd.showUnits(units, ["Id", "ActiveState"]);
  return shown.flatMap((unit) => (unit["ActiveState"] === "active" ? [] : [unit["Id"] ?? ""]));
}

function writeFiles(context: AgentContext, write: readonly RenderedUnit[]): void {
  mkdirSync(context.unitDirectory, { recursive: true });
  mkdirSync(context.quadletDirectory, { recursive: true });
  for (const { kind, name, content } of write) writeFileSync(join(directoryOf(context, kind), name), content);
}

function removeFiles(context: AgentContext, remove: readonly Pick<LiveUnit, "kind" | "name">[]): void {
  for (const { kind, name } of remove) {
    rmSync(join(directoryOf(context, kind), name), { force: true });
    rmSync(bootLink(context.unitDirectory, name), { force: true });
  }
}
