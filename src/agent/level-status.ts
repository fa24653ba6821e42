// What `mosctl status` says of signed sets in levels: what is installed of each, and which level it comes from.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { asMosError } from "../errors/mos-error.ts";
import { levelName } from "../signed-sets/level-name.ts";
import type { AgentContext } from "./context.ts";
import type { Status } from "./status-model.ts";

/** Files of a level that are named; `mosctl set files` names all. */
const namedFiles = 20;

/** Nothing on a device without any. Never throws but for a defect. */
export async function levelStatus({ places }: Pick<AgentContext, "places">): Promise<Pick<Status, "sets">> {
  // There from the first set in levels on (src/signed-sets/merge-installed.ts).
  if (!existsSync(join(places.state, "levels"))) return {};
  try {
    const { readLedgers } = await import("../signed-sets/ledger.ts");
    const sets = (await readLedgers(join(places.state, "sets"))).flatMap(({ name, destination, levels }) => {
      const counting = (levels ?? []).flatMap(({ for: audience, counts, paths }) =>
        counts === undefined
          ? []
          : [
              {
                level: levelName(audience),
                serial: counts.serial,
                source: counts.source,
                files: paths.length,
                paths: paths.slice(0, namedFiles),
              },
            ],
      );
      return counting.length === 0 ? [] : [{ name, destination, levels: counting }];
    });
    return sets.length === 0 ? {} : { sets };
  } catch (error) {
    return { sets: [{ name: "", destination: "", levels: [], error: asMosError(error).toDocument() }] };
  }
}
