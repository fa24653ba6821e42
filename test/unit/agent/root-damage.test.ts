import { describe, expect, it } from "vitest";
import { parseVerityStatus } from "../../../src/agent/observe.ts";
import { rootDamage } from "../../../src/agent/root-damage.ts";
import { namedRoot, storedRootCommandLine } from "../../../src/boot/command-line.ts";
import { digestOf } from "../../../src/oci/digest.ts";

const layer = (name: string) => ({
  ...{ digest: digestOf(name), rootHash: digestOf(`root hash of ${name}`).slice("sha256:".length) },
  ...{ hashOffset: 4096, kind: "erofs" as const },
});
const [lower, upper] = [layer("lower"), layer("upper")];

function started(commandLine: string) {
  const root = namedRoot(commandLine) ?? expect.fail("it names no root");
  return { commandLine, root };
}

describe("the root that runs", () => {
  const twoLayers = started(storedRootCommandLine([lower, upper]));

  it("is whole as long as the kernel has seen no bad block of it, whatever it saw of others", () => {
    const states = parseVerityStatus(
      "root: 0 8 verity V\nmos-root1: 0 8 verity V\nmos-0123456789abcdef: 0 8 verity C\n",
    );
    expect(rootDamage(twoLayers, states)).toEqual([]);
  });

  it("is damaged by the layer that has the bad block, which is named", () => {
    const states = parseVerityStatus("root: 0 8 verity V\nmos-root1: 0 8 verity C\n");
    expect(rootDamage(twoLayers, states)).toMatchObject([{ code: "layer-corrupt", about: upper.digest }]);
    const both = parseVerityStatus("root: 0 8 verity C\nmos-root1: 0 8 verity C\n");
    expect(rootDamage(twoLayers, both).map(({ about }) => about)).toEqual([lower.digest, upper.digest]);
  });

  it("is named by its root hash where it is in a partition", () => {
    const partition = started(`roothash=${lower.rootHash}`);
    expect(rootDamage(partition, parseVerityStatus("root: 0 8 verity C\n"))).toMatchObject([
      { about: `root hash ${lower.rootHash}` },
    ]);
  });

  it("is nobody's matter on a device that was not started from one", () => {
    expect(rootDamage(undefined, parseVerityStatus("root: 0 8 verity C\n"))).toEqual([]);
  });
});
