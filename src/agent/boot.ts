// The service stage of a boot (DESIGN section 4): verify the current generation and bring its units up, from
// what is on disk, with no network. Where the live units are already those of the generation nothing happens.
import { asMosError, type MosError } from "../errors/mos-error.ts";
import { ensureIdMaps } from "../generation/idmaps.ts";
import { lockPath } from "../generation/places.ts";
import { groupsOf, renderUnits, wantedUnits } from "../services/render.ts";
import { fault } from "../system/fault.ts";
import { withLock } from "../system/lock.ts";
import { applyUnits } from "./apply-units.ts";
import type { AgentContext } from "./context.ts";
import { loadCurrent, type TargetProblem } from "./load.ts";
import { bringSecrets, sweepSecrets } from "./secrets.ts";
import { remember } from "./trust.ts";

/** How the stage ended. */
export type BootOutcome =
  /** Units were written and their start was asked for. */
  | { readonly kind: "applied"; readonly generation: number; readonly problems: readonly TargetProblem[] }
  /** The live units were already those of the generation. */
  | { readonly kind: "unchanged"; readonly generation: number; readonly problems: readonly TargetProblem[] }
  /** No manifest has been applied on this device yet. */
  | { readonly kind: "no-generation" }
  /** A check failed: nothing of the generation was started. */
  | { readonly kind: "refused"; readonly error: MosError };

/** Milliseconds of each part, for the log and `./dev bench`. */
export interface BootTimings {
  readonly verify: number;
  readonly render: number;
  readonly apply: number;
}

export async function boot(
  context: AgentContext,
): Promise<{ readonly outcome: BootOutcome; readonly timings: BootTimings }> {
  const marks = [performance.now()];
  const mark = () => marks.push(performance.now());
  const timings = () => {
    const part = (i: number) => Math.max(0, (marks[i + 1] ?? marks[i] ?? 0) - (marks[i] ?? 0));
    return { verify: part(0), render: part(1), apply: part(2) };
  };
  try {
    return await withLock(lockPath(context.places), "boot", async () => {
      await fault("boot.load");
      const current = await loadCurrent(context);
      mark();
      if (current === undefined) return { outcome: { kind: "no-generation" }, timings: timings() };
      const { manifest, number, trust } = current;
      await fault("boot.remember");
      await remember(context, trust, current.current.records, manifest.release?.epoch ?? 0);
      const idmaps = await ensureIdMaps(context.places, groupsOf(manifest));
      const secrets = await bringSecrets(context, { manifest, images: current.images, idmaps });
      const refused = new Set(secrets.problems.map(({ service }) => service));
      const images = current.images.filter(({ target }) => !refused.has(target.service_name));
      const problems = [...current.problems, ...secrets.problems];
      const credentials = secrets.tags;
      const input = { generation: number, manifest, images, idmaps, credentials, places: context.places };
      const units = renderUnits(input);
      mark();
      await fault("boot.apply");
      const applied = await applyUnits(context, { units, wanted: wantedUnits(input), disturbed: [] }, "boot");
      await sweepSecrets(context, credentials);
      await fault("boot.end");
      mark();
      const kind = applied.changed ? "applied" : "unchanged";
      return { outcome: { kind, generation: number, problems }, timings: timings() };
    });
  } catch (error) {
    return { outcome: { kind: "refused", error: asMosError(error) }, timings: timings() };
  }
}
