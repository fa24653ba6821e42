// What a manifest becomes, as whole files under test/golden. `vitest -u` writes them anew; read the difference.
import { describe, expect, it } from "vitest";
import type { RenderedUnit } from "../../../src/services/model.ts";
import { renderUnits } from "../../../src/services/render.ts";
import { isOwnFile } from "../../../src/services/unit-names.ts";
import { goldenCases } from "../../golden-cases.ts";

function textOf(units: readonly RenderedUnit[]): string {
  return units.map(({ kind, name, content }) => `===== ${kind}/${name}\n${content}`).join("\n");
}

describe("units of a generation", () => {
  for (const [name, input] of Object.entries(goldenCases)) {
    it(`${name} becomes the units that were reviewed`, async () => {
      await expect(textOf(renderUnits(input()))).toMatchFileSnapshot(`../../golden/${name}.units`);
    });
  }

  // That the others are what quadlet would make of them, integration/units.test.ts shows with quadlet itself.
  it("are services where podman has no quadlet, with all else as it is", async () => {
    const input = goldenCases["order-and-life"]();
    const units = renderUnits({ ...input, podmanUnits: "by-mos" });
    expect(units.every(({ kind }) => kind === "systemd")).toBe(true);
    const others = (of: readonly RenderedUnit[]) => of.filter(({ name }) => !name.startsWith("mos-svc-"));
    expect(others(units)).toEqual(others(renderUnits(input)));
    const services = units.filter(({ name }) => name.startsWith("mos-svc-"));
    await expect(textOf(services)).toMatchFileSnapshot("../../golden/order-and-life.without-quadlet.units");
  });

  it("let the kernel read a file system only under dm-verity (A26): no mount is of a blob, each is of an open device", () => {
    for (const input of Object.values(goldenCases)) {
      const units = renderUnits(input());
      const blobs = input().images.flatMap(({ layers }) => layers.map(({ blob }) => blob));
      for (const { content } of units.filter(({ name }) => name.endsWith(".mount"))) {
        const [, type] = /^Type=(.*)$/m.exec(content) ?? [];
        for (const blob of blobs) expect(content).not.toContain(blob);
        if (type !== "squashfs" && type !== "erofs") continue;
        const [, id] = /^What=\/dev\/mapper\/mos-([0-9a-f]{16})$/m.exec(content) ?? [];
        expect(content).toMatch(new RegExp(`^BindsTo=mos-layer-${id}\\.service$`, "m"));
        expect(content).toMatch(new RegExp(`^After=.*mos-layer-${id}\\.service`, "m"));
        const layer = units.find(({ name }) => name === `mos-layer-${id}.service`);
        expect(layer?.content).toMatch(/^ExecStart=\S*veritysetup open .* [0-9a-f]{64}$/m);
      }
    }
  });

  it("are all known as mos's own, so that what the next generation does not have is removed", () => {
    for (const [name, input] of Object.entries(goldenCases))
      for (const podmanUnits of ["by-quadlet", "by-mos"] as const)
        for (const unit of renderUnits({ ...input(), podmanUnits }))
          expect([name, unit.name, isOwnFile(unit.kind, unit.name, input().places)]).toEqual([
            name,
            unit.name,
            true,
          ]);
  });

  it("does not depend on the order in which targets are listed", () => {
    const input = goldenCases["two-services-share-a-layer"]();
    const reversed = { ...input, images: input.images.toReversed() };
    const names = (of: typeof input) => renderUnits(of).map(({ name }) => name);
    expect(names(reversed)).toEqual(names(input));
  });
});
