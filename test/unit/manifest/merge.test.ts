// A complete manifest and partial ones after it, as one.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { contributing, mergeManifests } from "../../../src/manifest/merge.ts";
import { type InstallManifest, installManifestSchema } from "../../../src/manifest/schema.ts";

function manifest(
  type: "complete" | "partial",
  services: readonly string[],
  more: Partial<InstallManifest> = {},
): InstallManifest {
  return {
    ...installManifestSchema.parse({
      version: 1,
      product: "p",
      targets: services.map((text) => {
        const [name = "", version = "1"] = text.split("@");
        return {
          ...{ service_name: name, version, service_type: "container", nsgroup: "", size: 1 },
          network: { type: "none", ipv4: "", ipv6: "", ports: null },
          digest: `sha256:${"0".repeat(64)}`,
        };
      }),
      update_type: type,
    }),
    ...more,
  };
}
const shown = ({ targets }: InstallManifest) =>
  targets.map(({ service_name, version }) => `${service_name}@${version}`);

describe("partial manifests", () => {
  test("replace what they name, in its place, and add what is new", () => {
    const merged = mergeManifests([
      manifest("complete", ["a@1", "b@1", "c@1"]),
      manifest("partial", ["b@2", "d@1"]),
    ]);
    expect(shown(merged)).toEqual(["a@1", "b@2", "c@1", "d@1"]);
    expect(merged.update_type).toBe("complete");
  });

  test("are forgotten when nothing of them is left; the complete one never is", () => {
    const [base, one, two, three] = [
      manifest("complete", ["a@1"]),
      manifest("partial", ["a@2", "b@1"]),
      manifest("partial", ["a@3"]),
      manifest("partial", ["a@4", "b@2"]),
    ];
    expect(contributing([base, one])).toEqual([true, true]);
    expect(contributing([base, one, two])).toEqual([true, true, true]);
    expect(contributing([base, one, two, three])).toEqual([true, false, false, true]);
  });

  test("leave out nothing that counts: what is forgotten changes nothing", () => {
    const services = fc.uniqueArray(fc.constantFrom("a", "b", "c", "d"), { minLength: 1 });
    fc.assert(
      fc.property(fc.array(services, { minLength: 1, maxLength: 6 }), (lists) => {
        const all = lists.map((names, i) =>
          manifest(
            i === 0 ? "complete" : "partial",
            names.map((name) => `${name}@${i}`),
          ),
        );
        const used = contributing(all);
        const [first, ...rest] = all;
        const [kept, ...others] = all.filter((_, i) => used[i]);
        if (first === undefined || kept === undefined) expect.fail("there is always one");
        const by = (m: InstallManifest) => shown(m).sort();
        expect(by(mergeManifests([kept, ...others]))).toEqual(by(mergeManifests([first, ...rest])));
      }),
    );
  });

  test.each<[string, readonly [InstallManifest, ...InstallManifest[]]]>([
    ["without a complete one below", [manifest("partial", ["a"])]],
    ["below a complete one", [manifest("complete", ["a"]), manifest("complete", ["b"])]],
    ["of another product", [manifest("complete", ["a"]), manifest("partial", ["a"], { product: "q" })]],
    [
      "of another epoch",
      [manifest("complete", ["a"]), manifest("partial", ["a"], { release: { serial: 2, epoch: 1 } })],
    ],
  ])("are refused %s", (_, manifests) => {
    expect(() => mergeManifests(manifests)).toThrow(expect.objectContaining({ code: "partial-refused" }));
  });

  test("are refused when they are sound alone and not together", () => {
    const publishing = (name: string, type: "complete" | "partial"): InstallManifest => {
      const one = manifest(type, [name]);
      const network = { type: "simple", ipv4: "", ipv6: "", ports: [{ host: 80, container: 80 }] } as const;
      return {
        ...one,
        targets: one.targets.map((target) => ({
          ...target,
          network: { ...network, ports: [...network.ports] },
        })),
      };
    };
    expect(() => mergeManifests([publishing("a", "complete"), publishing("b", "partial")])).toThrow(
      /host port 80/,
    );
  });
});
