// What a level is called.
import type { Audience } from "./audience.ts";

/** As `mosctl` shows a level and takes it: `everybody`, `class:a,b`, `machine:NAME`. Two that are the same are one level. */
export function levelName(audience: Audience): string {
  switch (audience.who) {
    case "everybody":
      return "everybody";
    case "class":
      return `class:${audience.classes.join(",")}`;
    case "machine":
      return `machine:${audience.machine}`;
  }
}
