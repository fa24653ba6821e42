import { describe, expect, it } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { renderUnits, wantedUnits } from "../../../src/services/render.ts";
import { sampleImage, sampleInput, sampleLayer, sampleManifest, sampleTarget } from "../../samples.ts";

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof MosError) return error.code;
    throw error;
  }
  return "nothing thrown";
}

describe("rendering", () => {
  it("opens a layer once however many services use it, and mounts it once for each uid map", () => {
    const base = sampleLayer("base");
    const targets = ["a", "b", "c"].map((name) =>
      sampleTarget({ service_name: name, nsgroup: name === "c" ? "other" : "shared" }),
    );
    const units = renderUnits(
      sampleInput(
        sampleManifest({ targets }),
        targets.map((target) => sampleImage(target, [base])),
      ),
    );
    const layers = units.filter(({ name }) => name.startsWith("mos-layer-"));
    expect(layers.map(({ services }) => services)).toEqual([["a", "b", "c"]]);
    const mounts = units.filter(({ name }) => name.startsWith("run-mos-layers-"));
    expect(mounts.map(({ services }) => services)).toEqual([["c"], ["a", "b"]]);
  });

  it("adds for each of fifty services with a hundred layers what it adds for the first: its units and two for each layer", () => {
    const unitsOf = (count: number) => {
      const targets = Array.from({ length: count }, (_, i) => sampleTarget({ service_name: `s${i}` }));
      const images = targets.map((target, i) =>
        sampleImage(target, [sampleLayer(`low ${i}`), sampleLayer(`high ${i}`)]),
      );
      return renderUnits(sampleInput(sampleManifest({ targets }), images));
    };
    const sizeOf = (count: number) => unitsOf(count).reduce((sum, { content }) => sum + content.length, 0);
    const each = unitsOf(2).length - unitsOf(1).length;
    expect(unitsOf(50).length - unitsOf(1).length).toBe(49 * each);
    expect(each).toBe(8);
    expect(sizeOf(50) / 50).toBeLessThan(1.1 * sizeOf(1));
  });

  it.each([
    ["a health check of no known kind", { Healthcheck: { Test: ["RUN", "x"] } }],
    ["a health check of nothing", { Healthcheck: { Test: ["CMD"] } }],
    ["a health check with a NUL character", { Healthcheck: { Test: ["CMD-SHELL", "a\0b"] } }],
    ["a port that is none", { ExposedPorts: { "80/tcp\nExec=x": {} } }],
    ["a volume that leads elsewhere", { Volumes: { "/data/../etc": {} } }],
    ["a volume with options in its path", { Volumes: { "/data:rw,suid": {} } }],
    ["the root as a volume", { Volumes: { "/": {} } }],
  ])("refuses an image with %s (A21, A22)", (_, more) => {
    const target = sampleTarget({ security: { read_only: true } });
    const image = { ...sampleImage(target), config: { config: { Entrypoint: ["/x"], ...more } } };
    expect(codeOf(() => renderUnits(sampleInput(sampleManifest({ targets: [target] }), [image])))).toBe(
      "image-unusable",
    );
  });

  it("refuses two layers whose root hashes begin alike", () => {
    const one = sampleLayer("one");
    const two = { ...one, rootHash: `${one.rootHash.slice(0, 16)}${"0".repeat(48)}` };
    const target = sampleTarget();
    expect(codeOf(() => renderUnits(sampleInput(sampleManifest(), [sampleImage(target, [one, two])])))).toBe(
      "internal",
    );
  });

  it("refuses an image that does not say what to run", () => {
    const image = { ...sampleImage(sampleTarget()), config: { config: { Entrypoint: [], Cmd: null } } };
    expect(codeOf(() => renderUnits(sampleInput(sampleManifest(), [image])))).toBe("image-unusable");
  });

  it("refuses a NUL character in what to run and in the environment", () => {
    const image = sampleImage(sampleTarget());
    for (const config of [{ Entrypoint: ["a\0b"] }, { Entrypoint: ["a"], Env: ["A=\0"] }]) {
      const input = sampleInput(sampleManifest(), [{ ...image, config: { config } }]);
      expect(codeOf(() => renderUnits(input))).toBe("image-unusable");
    }
  });

  it("refuses more layers than one overlay can hold", () => {
    const layers = Array.from({ length: 200 }, (_, i) => sampleLayer(String(i)));
    const input = sampleInput(sampleManifest(), [sampleImage(sampleTarget(), layers)]);
    expect(codeOf(() => renderUnits(input))).toBe("layer-unsupported");
  });

  it("wants every service, and nothing of what the device boots from", () => {
    const targets = [
      sampleTarget({ service_name: "web" }),
      sampleTarget({ service_name: "files", service_type: "fs-only", nsgroup: "" }),
      sampleTarget({ service_name: "hostfs", service_type: "hostfs", nsgroup: "" }),
    ];
    const input = sampleInput(sampleManifest({ targets }));
    expect(wantedUnits(input)).toEqual(["mos-svc-web.service", "run-mos-roots-files.mount"]);
    expect(renderUnits(input).some(({ name }) => name.includes("hostfs"))).toBe(false);
  });

  it("names no unit outside its own prefixes, whatever the service is called", () => {
    const target = sampleTarget({ service_name: "systemd-udevd" });
    const names = renderUnits(sampleInput(sampleManifest({ targets: [target] }))).map(({ name }) => name);
    expect(names.every((name) => /^(mos[-.]|run-mos-)/.test(name))).toBe(true);
  });
});
