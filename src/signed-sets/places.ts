// Where signed sets are on a device.
import type { SetPlaces } from "./bring.ts";
import type { LevelPlaces } from "./read-levels.ts";

export const setPlaces: SetPlaces = { state: "/var/lib/mos/sets", root: "/" };

export const levelPlaces: LevelPlaces = { kept: "/var/lib/mos/levels", image: "/usr/lib/mos/sets" };
