import { describe, expect, it } from "vitest";
import { isEmptyPlan, planActivation, unitOfFile } from "../../../src/generation/plan.ts";
import type { RenderedUnit } from "../../../src/services/model.ts";
import { renderUnits } from "../../../src/services/render.ts";
import { defaultPlaces } from "../../../src/services/unit-names.ts";
import { sampleImage, sampleInput, sampleLayer, sampleManifest, sampleTarget } from "../../samples.ts";

function units(...targets: ReturnType<typeof sampleTarget>[]): RenderedUnit[] {
  return renderUnits(sampleInput(sampleManifest({ targets })));
}

const one = sampleTarget({ service_name: "one", nsgroup: "one" });
const two = sampleTarget({ service_name: "two", nsgroup: "one" });

describe("the plan of an activation", () => {
  it("is empty when what is live is what is wanted", () => {
    const same = units(one, two);
    expect(isEmptyPlan(planActivation(same, same, defaultPlaces))).toBe(true);
  });

  it("executed once, leaves nothing to do", () => {
    const before = units(one, two);
    const after = units({ ...one, version: "2" });
    const plan = planActivation(before, after, defaultPlaces);
    const kept = before.filter(
      (live) => ![...plan.write, ...plan.remove].some(({ name }) => name === live.name),
    );
    expect(isEmptyPlan(planActivation([...kept, ...plan.write], after, defaultPlaces))).toBe(true);
  });

  it("stops nothing on a first boot", () => {
    expect(planActivation([], units(one, two), defaultPlaces).stop).toEqual([]);
  });

  it("restarts only the service whose image changed, with its whole root", () => {
    const input = sampleInput(sampleManifest({ targets: [one, two] }));
    const changed = { ...input, images: [sampleImage(one, [sampleLayer("another")]), sampleImage(two)] };
    const plan = planActivation(renderUnits(input), renderUnits(changed), defaultPlaces);
    expect(plan.affectedServices).toEqual(["one"]);
    expect(plan.stop).toContain("mos-svc-one.service");
    expect(plan.stop).toContain("run-mos-roots-one.mount");
    expect(plan.stop.some((unit) => unit.includes("two"))).toBe(false);
  });

  it("holds the layers of old and new until the new runs, and then lets go of the old ones", () => {
    const input = sampleInput(sampleManifest({ targets: [one, two] }));
    const changed = { ...input, images: [sampleImage(one, [sampleLayer("another")]), sampleImage(two)] };
    const [before, after] = [renderUnits(input), renderUnits(changed)];
    const layers = (units: readonly RenderedUnit[]) =>
      units.map(({ name }) => name).filter((name) => /^(mos-layer-|run-mos-layers-)/.test(name));
    const plan = planActivation(before, after, defaultPlaces);
    const gone = layers(before).filter((name) => !layers(after).includes(name));
    expect(new Set(plan.hold)).toEqual(new Set([...layers(before), ...layers(after)]));
    expect(new Set(plan.release)).toEqual(new Set(gone));
    expect(gone.length).toBeGreaterThan(0);
    expect(plan.stop.filter((unit) => plan.hold.includes(unit))).toEqual([]);
  });

  it("never stops the target or the slice: that would stop every service", () => {
    const plan = planActivation(units(one, two), units(one), defaultPlaces);
    expect(plan.stop).not.toContain("mos.target");
    expect(plan.stop).not.toContain("mos.slice");
    expect(plan.stop).toContain("mos-svc-two.service");
  });

  describe("where a network gives way to another one", () => {
    const networked = (subnet: string) =>
      units(
        sampleTarget({ ...one, network: { type: "simple", ipv4: `${subnet}.2/24`, ipv6: "", ports: [] } }),
      );
    const networks = (of: readonly RenderedUnit[]) =>
      of.filter(({ name }) => name.endsWith(".network")).map(unitOfFile);

    it("keeps the old one until the new services run", () => {
      const [before, after] = [networked("10.1.0"), networked("10.2.0")];
      const plan = planActivation(before, after, defaultPlaces);
      expect(networks(before)).toHaveLength(1);
      expect(plan.hold).toEqual(expect.arrayContaining([...networks(before), ...networks(after)]));
      expect(plan.release).toEqual(expect.arrayContaining(networks(before)));
    });

    it("takes the old one away first when both have an address in common: podman refuses the second", () => {
      const before = networked("10.1.0");
      const after = units(
        sampleTarget({
          ...one,
          network: { type: "simple", ipv4: "10.1.0.2/24", ipv6: "fd00:1::2/64", ports: [] },
        }),
      );
      const plan = planActivation(before, after, defaultPlaces);
      expect(networks(before)).not.toEqual(networks(after));
      expect(plan.stop).toEqual(expect.arrayContaining(networks(before)));
      expect(plan.hold).not.toEqual(expect.arrayContaining(networks(before)));
      expect(plan.release).not.toEqual(expect.arrayContaining(networks(before)));
      // Also when the power went in between, and the new files are there already.
      const again = planActivation([...before, ...after], after, defaultPlaces);
      expect(again.stop).toEqual(expect.arrayContaining(networks(before)));
    });
  });

  it("names the unit that quadlet makes of a file", () => {
    expect(unitOfFile({ kind: "quadlet", name: "mos-svc-a.b.container" })).toBe("mos-svc-a.b.service");
    expect(unitOfFile({ kind: "quadlet", name: "mos-10.0.3.0-24_fd00.3..-64.network" })).toBe(
      "mos-10.0.3.0-24_fd00.3..-64-network.service",
    );
  });
});
