// What every flow of the agent works with: places, policy and clock. Made once, at the edge.
import { defaultPlaces, type Places } from "../services/unit-names.ts";
import { type AnchorSource, deviceAnchorSources } from "../trust/anchors.ts";

/** Put in by the build, in seconds since 1970; absent when the sources run as they are. */
declare const MOS_BUILD_TIME: number | undefined;

export interface AgentContext {
  readonly places: Places;
  /** Where systemd reads units that must not outlive a boot. */
  readonly unitDirectory: string;
  /** Where quadlet reads them (from podman 5.3 on). */
  readonly quadletDirectory: string;
  readonly anchors: readonly AnchorSource[];
  readonly buildTime: Date;
}

export function deviceContext(): AgentContext {
  return {
    places: defaultPlaces,
    unitDirectory: "/run/systemd/system",
    quadletDirectory: "/run/containers/systemd",
    anchors: deviceAnchorSources,
    buildTime: new Date(typeof MOS_BUILD_TIME === "number" ? MOS_BUILD_TIME * 1000 : 0),
  };
}

/** Milliseconds since this process began; the first part of a boot's cost is the runtime's own start. */
export function processAgeMs(): number {
  return performance.now();
}
