// Brings the running system to a generation that is on the disk, with no network: at a boot, and when a device goes
// back to what ran before. A service that cannot run is a problem of its own; the others run.
import { ensureIdMaps } from "../generation/idmaps.ts";
import { groupsOf, renderUnits, wantedUnits } from "../services/render.ts";
import { type Applied, applyUnits, podmanUnits } from "./apply-units.ts";
import type { AgentContext } from "./context.ts";
import type { LoadedGeneration, TargetProblem } from "./load.ts";
import { bringSecrets, sweepSecrets } from "./secrets.ts";

export interface BroughtUp {
  readonly applied: Applied;
  readonly problems: readonly TargetProblem[];
}

/**
 * @param mode `boot` starts without waiting, `wait` returns when every unit is up or has failed
 * @param onRendered told when only systemd's part is left
 * @throws MosError `idmap-exhausted`, `state-invalid`, `image-unusable`, `systemd-failed`
 */
export async function bringUp(
  context: AgentContext,
  { manifest, number, images: loaded, problems: known }: LoadedGeneration,
  mode: "boot" | "wait",
  onRendered: () => void = () => undefined,
): Promise<BroughtUp> {
  const idmaps = await ensureIdMaps(context.places, groupsOf(manifest));
  const secrets = await bringSecrets(context, { manifest, images: loaded, idmaps });
  const refused = new Set(secrets.problems.map(({ service }) => service));
  const images = loaded.filter(({ target }) => !refused.has(target.service_name));
  const credentials = secrets.tags;
  const device = { places: context.places, podmanUnits: podmanUnits(context) };
  const input = { generation: number, manifest, images, idmaps, credentials, ...device };
  const units = renderUnits(input);
  onRendered();
  const applied = await applyUnits(context, { units, wanted: wantedUnits(input), disturbed: [] }, mode);
  await sweepSecrets(context, credentials);
  return { applied, problems: [...known, ...secrets.problems] };
}

/** Takes down everything that mos has brought up. */
export async function bringDown(context: AgentContext): Promise<Applied> {
  const applied = await applyUnits(context, { units: [], wanted: [], disturbed: [] }, "wait");
  await sweepSecrets(context, new Map());
  return applied;
}
