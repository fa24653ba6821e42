// Secrets in the two forms of a manifest: what is read, what is refused, and how it is written.
import { describe, expect, it } from "vitest";
import { compileManifest } from "../../../src/manifest/compile.ts";
import { encodeInstallManifest, parseInstallManifest } from "../../../src/manifest/install-json.ts";
import { parseManifestYaml } from "../../../src/manifest/manifest-yaml.ts";
import type { Target } from "../../../src/manifest/schema.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { sampleManifest, sampleSecret, sampleTarget } from "../../samples.ts";

const { data, recipients } = sampleSecret("token");
const [{ key, sealed }] = recipients as [(typeof recipients)[number]];

const good = `version: 1
product: demo
storage:
  - {label: data, size: 1G, nsgroup: web}
targets:
  - service_name: web
    source: oci:dir:tag
    version: "1"
    nsgroup: web
    storage: [{dest: /var/data, label: data}]
    secrets:
      - {name: tls.key, file: tls.key, recipients: [one.pem, two.pem]}
      - name: token
        encrypted:
          data: ${data}
          recipients:
            - {key: ${key}, sealed: ${sealed}}
  - service_name: other
    source: oci:dir:tag
    version: "1"
`;

function problemsOf(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    if (error instanceof Error && "problems" in error && Array.isArray(error.problems)) {
      return error.problems.join("\n");
    }
    throw error;
  }
  return "accepted";
}

const recipient = `            - {key: ${key}, sealed: ${sealed}}\n`;

describe("secrets in a manifest.yaml", () => {
  it("are read, with none where nothing is said", () => {
    const [web, other] = parseManifestYaml(good, "m.yaml").targets;
    expect(web?.secrets).toEqual([
      { name: "tls.key", file: "tls.key", recipients: ["one.pem", "two.pem"] },
      { name: "token", encrypted: { data, recipients: [{ key, sealed }] } },
    ]);
    expect(other?.secrets).toEqual([]);
  });

  it.each<[string, string, string, string]>([
    [
      "an unknown key",
      "file: tls.key",
      "fiel: tls.key",
      "targets.0.secrets.0.fiel: unknown key; did you mean file?",
    ],
    ["a name twice", "name: token", "name: tls.key", "the name tls.key is already used by secrets.0"],
    [
      "a name that leaves its directory",
      "name: token",
      "name: ../token",
      "targets.0.secrets.1.name: may have",
    ],
    ["a hidden name", "name: token", "name: .token", "may have letters"],
    ["a name that is too long", "name: token", `name: ${"a".repeat(65)}`, "must not be longer than 64"],
    ["a file without recipients", ", recipients: [one.pem, two.pem]", "", "must have either"],
    ["recipients without a file", "file: tls.key, ", "", "must have either"],
    ["nothing to open", "file: tls.key, recipients: [one.pem, two.pem]", "", "must have either"],
    [
      "both a file and what is encrypted",
      "name: token\n",
      "name: token\n        file: x\n",
      "must have either",
    ],
    ["no recipients", "[one.pem, two.pem]", "[]", "targets.0.secrets.0.recipients"],
    ["a device twice", recipient, recipient + recipient, "the device is already listed as recipients.0"],
    ["a key that is no hash", key, '"00"', "must be 64 lower-case hex digits"],
    ["a sealed key of another length", sealed, sealed.slice(4), "must be base64 of 113 bytes"],
    ["data that is not base64", data, "a.b", "must be base64 of 18 to 65553 bytes"],
    ["data with another reading", data, `${data}=`, "must be base64"],
    [
      "a target that does not run",
      "    nsgroup: web\n    storage: [{dest: /var/data, label: data}]",
      "    service_type: fs-only",
      "targets.0.secrets: a target of type fs-only does not run",
    ],
    [
      "a volume in their place",
      "dest: /var/data",
      "dest: /run/host/credentials",
      "is where the service finds its secrets",
    ],
    [
      "a volume among them",
      "dest: /var/data",
      "dest: /run/host/credentials/x",
      "is where the service finds its secrets",
    ],
  ])("are refused with %s", (_what, from, to, problem) => {
    const bad = good.replace(from, to);
    expect(bad).not.toBe(good);
    expect(problemsOf(() => parseManifestYaml(bad, "m.yaml"))).toContain(problem);
  });

  it("are refused when there are more than 64 of them", () => {
    const many = Array.from(
      { length: 65 },
      (_, i) => `      - {name: n${i}, file: x, recipients: [one.pem]}\n`,
    );
    const bad = good.replace("    secrets:\n", `    secrets:\n${many.join("")}`);
    expect(problemsOf(() => parseManifestYaml(bad, "m.yaml"))).toContain("targets.0.secrets");
  });
});

describe("secrets in an install.json", () => {
  const withSecrets = (secrets: Target["secrets"]) =>
    encodeInstallManifest(sampleManifest({ targets: [sampleTarget({ secrets })] }));
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

  it("come after everything else of a target, and are not there when there are none", () => {
    const without = text(withSecrets([]));
    expect(without).not.toContain("secrets");
    const secrets = `"secrets":[{"name":"token","data":"${data}","recipients":[{"key":"${key}","sealed":"${sealed}"}]}]`;
    expect(text(withSecrets([sampleSecret("token")]))).toBe(
      without.replace('"size":1000}', `"size":1000,${secrets}}`),
    );
  });

  it("are what was encrypted for each target, in their order", () => {
    const manifest = parseManifestYaml(good, "m.yaml");
    const image = { digest: digestOf("image"), size: 10 };
    const encrypted = [[sampleSecret("tls.key"), sampleSecret("token")], []];
    const compiled = compileManifest(manifest, [image, image], [], encrypted);
    expect(compiled.targets.map(({ secrets }) => secrets)).toEqual(encrypted);
    expect(parseInstallManifest(encodeInstallManifest(compiled))).toEqual(compiled);
  });

  it.each<[string, (document: { targets: { secrets: unknown }[] }) => void]>([
    [
      "a name twice",
      (d) => Object.assign(d.targets[0] ?? {}, { secrets: [sampleSecret("a"), sampleSecret("a")] }),
    ],
    [
      "a file that only the publisher has",
      (d) => Object.assign(d.targets[0] ?? {}, { secrets: [{ name: "a", file: "a", recipients: ["b"] }] }),
    ],
    ["no list", (d) => Object.assign(d.targets[0] ?? {}, { secrets: {} })],
    ["a target that does not run", (d) => Object.assign(d.targets[0] ?? {}, { service_type: "fs-only" })],
  ])("are refused with %s", (_what, change) => {
    const document = JSON.parse(text(withSecrets([sampleSecret("token")])));
    change(document);
    const bytes = new TextEncoder().encode(JSON.stringify(document));
    expect(problemsOf(() => parseInstallManifest(bytes))).not.toBe("accepted");
  });
});
