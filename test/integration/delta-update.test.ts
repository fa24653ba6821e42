// The security updates of a real root, by delta: bytes on the wire from the registry's log, and the layer's root hash.
import { expect, test } from "vitest";
import { updatedRoots } from "../../tools/roots.ts";
import { temporaryDirectory } from "../support.ts";
import { updateByDelta } from "./delta-update.ts";
import { isRoot } from "./layers-fixture.ts";

test.runIf(isRoot)(
  "Debian's security updates take a part of the layer in blocks, and a small one as a patch",
  { timeout: 1_200_000 },
  async ({ skip }) => {
    const { before, after, packages } = await updatedRoots();
    if (packages === 0) skip("after a point release there are no security updates for some days");
    const { newer, blocks, patch } = await updateByDelta(before, after, "erofs", await temporaryDirectory());
    if (patch === undefined) throw new Error("no patch was made");
    expect([blocks.way, patch.way]).toEqual(["blocks", "patch"]);
    const part = ({ sentBytes }: typeof blocks): number => sentBytes / newer.descriptor.size;
    // How much is updated today is Debian's to say; what is measured is in docs/benchmarks.md.
    expect(part(blocks)).toBeLessThan(0.2);
    expect(part(patch)).toBeLessThan(0.3 * part(blocks));
  },
);
