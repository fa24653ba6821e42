// The published artifacts of seed 004, byte for byte.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compileManifest } from "../../../src/manifest/compile.ts";
import { encodeInstallManifest, parseInstallManifest } from "../../../src/manifest/install-json.ts";
import { parseManifestYaml } from "../../../src/manifest/manifest-yaml.ts";
import { buildArtifact } from "../../../src/oci/artifacts.ts";
import { digestFromHex } from "../../../src/oci/digest.ts";
import { hasSeedVectors, seedLayout } from "../../support.ts";

function blob(hex: string): Uint8Array {
  return readFileSync(join(seedLayout, "blobs/sha256", hex));
}

const installJson = "50a93be19bf1027b8363554359e288890324fa7e21002df072e50955e8336954";
const created = "2023-12-20T08:48:03-06:00";

const yaml = `version: 1
product: default
update_type: complete
targets:
  - service_name: zot
    source: "docker://example.com/machine/bootkit/demo-zot:0.0.4-squashfs"
    version: 1.0.0
    service_type: container
    nsgroup: "zot"
    network:
      type: simple
      ipv4: 10.0.3.99/24
      ports:
        - host: 80
          container: 5000
  - service_name: hostfs
    source: "docker://example.com/machine/bootkit/demo-target-rootfs:v0.0.18.231121-squashfs"
    version: v0.0.18.231121
    service_type: hostfs
    network: {type: host}
  - service_name: bootkit
    source: "oci:bootkit:bootkit-squashfs"
    version: 1.0.0
    service_type: fs-only
    network: {type: host}
`;

const images = [
  { digest: digestFromHex("3f7fe7839527f97a351e3e7790cfa42f85ff89a8b5dfab699812feeddd1c7c04"), size: 7290 },
  { digest: digestFromHex("95c77628b5ccd1f74fd4538f367800c18a371321731408a29428153b1893d9f9"), size: 7288 },
  { digest: digestFromHex("83f822a13bac8b61b17b36d582030f38c75f631629866d2b02be49514baa5145"), size: 1637 },
];

describe.skipIf(!hasSeedVectors)("seed 004", () => {
  it("compiles the manifest to the published install.json", () => {
    const compiled = compileManifest(parseManifestYaml(yaml, "manifest.yaml"), images, [], []);
    expect(new TextDecoder().decode(encodeInstallManifest(compiled))).toBe(
      new TextDecoder().decode(blob(installJson)),
    );
  });

  it("reads the published install.json", () => {
    const manifest = parseInstallManifest(blob(installJson));
    expect(manifest.targets.map(({ service_name }) => service_name)).toEqual(["zot", "hostfs", "bootkit"]);
  });

  it("builds the three published artifact manifests", () => {
    const install = buildArtifact("install", blob(installJson), created);
    expect(install.digest).toBe("sha256:d63dbe48800f04a141f414e30f2d3b00b61d00e50d4b3ceaf0fc8e7e4953de13");
    const certificate = blob("136d70873171b931a0e0002fbb31589786038f9419a687f9a47e77b423ba6911");
    expect(buildArtifact("certificate", certificate, created, install).digest).toBe(
      "sha256:5fddac82c01188d2389e86dfe41f8293ba6815f041f0f9a196cee275410912a4",
    );
    const signature = blob("313ac3c232b47ead121c3ed0a3a0e38f9768d57cfa5a4c76649f2d51dc73efd9");
    expect(buildArtifact("signature", signature, created, install).digest).toBe(
      "sha256:04db4846f9b5b9f9cf54c1f4f718a592b73c0b727b8fb05a40b70e68bf5cf376",
    );
  });
});
