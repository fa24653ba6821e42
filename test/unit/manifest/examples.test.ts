import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { lintManifest } from "../../../src/manifest/lint.ts";
import { locateManifestYaml } from "../../../src/manifest/manifest-yaml.ts";
import { explainManifest } from "../../../src/services/explain.ts";
import { checkout } from "../../../tools/stamp.ts";

const directory = join(checkout, "examples");
/** The others are no manifests; their own tests run them. */
const names = readdirSync(directory).filter((name) => existsSync(join(directory, name, "manifest.yaml")));

function read(name: string) {
  return locateManifestYaml(readFileSync(join(directory, name, "manifest.yaml"), "utf8"), name);
}

describe("the examples", () => {
  it.each(names)("%s is sound and becomes units", (name) => {
    expect(explainManifest(read(name).manifest).length).toBeGreaterThan(5);
  });

  it.each(names)("%s loosens nothing but what it says why", (name) => {
    const findings = lintManifest(read(name).manifest).map(({ kind, message }) => `${kind}: ${message}`);
    expect(findings).toEqual(
      {
        sshd: ["loosening: may use the capability SYS_CHROOT"],
      }[name] ?? [],
    );
  });
});

describe("mosb manifest lint", () => {
  it("names each loosening and each surprise, at its line and column", () => {
    const text = `version: 1
product: p
storage:
  - { label: a, persistent: true, size: 1G }
targets:
  - service_name: web
    source: docker://registry.example.com/web:latest
    version: "1"
    network: { type: host }
    security:
      seccomp: unconfined
      no_new_privileges: false
      devices: [{ path: /dev/kvm }]
    image: { env: [DB_PASSWORD=hunter2] }
`;
    const { manifest, at } = locateManifestYaml(text, "m");
    const lines = lintManifest(manifest).map(
      ({ path, kind }) => `${at(path).line}:${at(path).column} ${kind}`,
    );
    expect(lines).toEqual([
      ...["1:1 surprise", "4:7 surprise", "4:35 surprise"],
      ...["6:5 loosening", "9:16 loosening", "11:7 loosening", "12:7 loosening", "13:17 loosening"],
      ...["6:5 surprise", "6:5 surprise", "14:20 surprise", "7:5 surprise"],
    ]);
  });
});
