// A device in a directory that takes sets in levels.
import { join } from "node:path";
import { asMosError } from "../../../src/errors/mos-error.ts";
import type { Audience, LevelIdentity } from "../../../src/signed-sets/audience.ts";
import { installLevel, removeLevels } from "../../../src/signed-sets/levels.ts";
import { restoreLevels } from "../../../src/signed-sets/restore-levels.ts";
import { type Files, keys, makeTree, setPlace } from "./set-fixture.ts";

export const everybody: Audience = { who: "everybody" };
export const ofClass = (...classes: string[]): Audience => ({ who: "class", classes });
export const ofMachine = (machine: string): Audience => ({ who: "machine", machine });

/** Of the classes lab and kiosk, the second being the more special one; machine m1. */
export const m1: LevelIdentity = { machine: "m1", classes: ["lab", "kiosk"] };

export async function levelPlace() {
  const at = await setPlace();
  const places = { root: at.root, state: at.state, kept: at.path("kept"), image: at.path("image") };
  const deviceOf = (identity: LevelIdentity) => ({ places, keys, identity });
  const sign = (
    audience: Audience,
    files: Files,
    serial: number,
    more: Parameters<typeof makeTree>[3] = {},
  ) => makeTree(at.path("set"), files, serial, { ...more, audience });
  const again = (identity = m1, force = false) => installLevel(deviceOf(identity), at.path("set"), { force });
  return {
    ...at,
    places,
    sign,
    again,
    /** Signs a level and installs it. */
    level: async (audience: Audience, files: Files, serial = 1) => {
      await sign(audience, files, serial);
      return await again();
    },
    /** Puts a level into the image. */
    ofImage: (audience: Audience, files: Files, serial: number, place: string) =>
      makeTree(join(places.image, "quadlets", place), files, serial, { audience }),
    remove: (level?: string) => removeLevels(deviceOf(m1), "quadlets", level, undefined),
    boot: (identity = m1, leaveReadOnly = false) => restoreLevels(deviceOf(identity), { leaveReadOnly }),
  };
}

/** The code of the error with which something ends. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => "no error",
    (error: unknown) => asMosError(error).code,
  );
}
