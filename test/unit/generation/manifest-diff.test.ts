import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareManifests } from "../../../src/generation/manifest-diff.ts";
import type { InstallManifest, Target } from "../../../src/manifest/schema.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { sampleManifest, sampleSecret, sampleTarget } from "../../samples.ts";

const web = sampleTarget();
const before = sampleManifest({ targets: [web, sampleTarget({ service_name: "db" })] });

function changedFields(after: Partial<Target>) {
  const next = sampleManifest({ targets: [{ ...web, ...after }, sampleTarget({ service_name: "db" })] });
  const { changed, added, removed, kept } = compareManifests(before, next);
  expect([added, removed, kept]).toEqual([[], [], ["db"]]);
  expect(changed.map(({ service }) => service)).toEqual(["web"]);
  return changed[0]?.fields;
}

describe("the comparison of two manifests", () => {
  it("finds nothing between a manifest and itself", () => {
    const { added, removed, changed, kept, release, volumes } = compareManifests(before, before);
    expect({ added, removed, changed, release }).toEqual({
      added: [],
      removed: [],
      changed: [],
      release: [],
    });
    expect(kept).toEqual(["db", "web"]);
    expect(volumes).toEqual({ added: [], removed: [], changed: [], kept: [] });
  });

  it("counts everything as added where nothing was applied", () => {
    const { added, kept, release } = compareManifests(undefined, before);
    expect([added, kept]).toEqual([["db", "web"], []]);
    expect(release).toEqual([{ field: "product", after: "demo" }]);
  });

  it("names the services that came and went", () => {
    const next = sampleManifest({ targets: [web, sampleTarget({ service_name: "cache" })] });
    const { added, removed, kept } = compareManifests(before, next);
    expect({ added, removed, kept }).toEqual({ added: ["cache"], removed: ["db"], kept: ["web"] });
  });

  it.each<[string, Partial<Target>, string[]]>([
    ["a new image", { digest: digestOf("other"), version: "2" }, ["version", "image"]],
    ["a network", { network: { type: "host", ipv4: "", ipv6: "", ports: [] } }, ["network"]],
    [
      "an address and a port",
      { network: { type: "none", ipv4: "10.0.3.9/24", ipv6: "", ports: [{ host: 80, container: 5000 }] } },
      ["ipv4", "ports"],
    ],
    ["a group", { nsgroup: "" }, ["nsgroup"]],
    ["a volume", { storage: [{ label: "data", dest: "/data" }] }, ["storage"]],
    ["a type", { service_type: "fs-only" }, ["type"]],
    ["a secret", { secrets: [sampleSecret("key")] }, ["secrets"]],
  ])("names the fields of a service with %s", (_what, change, expected) => {
    expect(changedFields(change)?.map(({ field }) => field)).toEqual(expected);
  });

  it("says what a field was and is", () => {
    expect(changedFields({ version: "2.0.0" })).toEqual([
      { field: "version", before: "1.0.0", after: "2.0.0" },
    ]);
    expect(changedFields({ nsgroup: "" })).toEqual([{ field: "nsgroup", before: "web" }]);
  });

  it("tells a secret that was encrypted anew, and shows nothing of it", () => {
    const with1 = { ...web, secrets: [sampleSecret("key")] };
    const with2 = { ...web, secrets: [{ ...sampleSecret("other"), name: "key" }] };
    const { changed } = compareManifests(
      sampleManifest({ targets: [with1] }),
      sampleManifest({ targets: [with2] }),
    );
    expect(changed[0]?.fields.map(({ field }) => field)).toEqual(["secrets"]);
    expect(JSON.stringify(changed)).not.toContain(with2.secrets[0]?.data);
  });

  it("tells a volume that grew, and one that is new", () => {
    const volume = { label: "data", persistent: true, nsgroup: "web", size: 10 };
    const next = sampleManifest({
      storage: [
        { ...volume, size: 20 },
        { ...volume, label: "new" },
      ],
    });
    const { volumes } = compareManifests(sampleManifest({ storage: [volume] }), next);
    expect(volumes).toEqual({
      ...{ added: ["new"], removed: [], kept: [] },
      changed: [{ volume: "data", fields: [{ field: "size", before: "10 MiB", after: "20 MiB" }] }],
    });
  });

  it("tells what the release says", () => {
    const old = sampleManifest({ release: { serial: 1, epoch: 0 } });
    const next = sampleManifest({ release: { serial: 2, epoch: 1, revoked: ["ab".repeat(32)] } });
    expect(compareManifests(old, next).release).toEqual([
      { field: "serial", before: "1", after: "2" },
      { field: "epoch", before: "0", after: "1" },
      { field: "revoked", after: "abababababab" },
    ]);
  });

  it("tells how a release reaches devices", () => {
    const rollout = { percent: 5, from: "2027-03-01T08:00:00Z", over: 72 };
    const [old, next] = [{ percent: 5 }, rollout].map((one) =>
      sampleManifest({ release: { serial: 1, epoch: 0, rollout: one } }),
    );
    if (old === undefined || next === undefined) throw new Error("there are two");
    expect(compareManifests(old, next).release).toEqual([
      {
        field: "rollout",
        before: "5 %",
        after: "5 % from 2027-03-01T08:00:00Z growing to 100 % within 72 h",
      },
    ]);
  });

  const targets = fc
    .uniqueArray(fc.constantFrom("a", "b", "c", "d"))
    .chain((names) =>
      fc.tuple(
        ...names.map((service_name) =>
          fc.record({ version: fc.constantFrom("1", "2") }).map((c) => sampleTarget({ ...c, service_name })),
        ),
      ),
    );
  const manifests = targets.map((list): InstallManifest => sampleManifest({ targets: list }));

  it("puts every service into exactly one list, and turned round swaps added and removed", () => {
    fc.assert(
      fc.property(manifests, manifests, (old, next) => {
        const there = compareManifests(old, next);
        const back = compareManifests(next, old);
        expect([there.added, there.removed, there.kept]).toEqual([back.removed, back.added, back.kept]);
        const changed = there.changed.map(({ service }) => service);
        const all = [...there.added, ...there.removed, ...there.kept, ...changed].sort();
        const names = [...old.targets, ...next.targets].map(({ service_name }) => service_name);
        expect(all).toEqual([...new Set(names)].sort());
        expect(there.changed.every(({ fields }) => fields.length > 0)).toBe(true);
      }),
    );
  });
});
