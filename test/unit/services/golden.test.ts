// What a manifest becomes, as whole files under test/golden. `vitest -u` writes them anew; read the difference.
import { describe, expect, it } from "vitest";
import { renderUnits } from "../../../src/services/render.ts";
import { goldenCases } from "../../golden-cases.ts";

describe("units of a generation", () => {
  for (const [name, input] of Object.entries(goldenCases)) {
    it(`${name} becomes the units that were reviewed`, async () => {
      const text = renderUnits(input())
        .map(({ kind, name: file, content }) => `===== ${kind}/${file}\n${content}`)
        .join("\n");
      await expect(text).toMatchFileSnapshot(`../../golden/${name}.units`);
    });
  }

  it("does not depend on the order in which targets are listed", () => {
    const input = goldenCases["two-services-share-a-layer"]();
    const reversed = { ...input, images: input.images.toReversed() };
    const names = (of: typeof input) => renderUnits(of).map(({ name }) => name);
    expect(names(reversed)).toEqual(names(input));
  });
});
