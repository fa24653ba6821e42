// What a person may write wrongly, and what they are told.
import { describe, expect, it } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { parseManifestYaml } from "../../../src/manifest/manifest-yaml.ts";

const good = `version: 1
product: demo
storage:
  - label: data
    persistent: true
    nsgroup: web
    size: 30G
targets:
  - service_name: web
    source: docker://registry.example.com/web:1
    version: 1.0.0
    nsgroup: web
    network:
      type: simple
      ipv4: 10.0.3.4/24
      ports:
        - {host: 80, container: 5000}
    storage:
      - {dest: /var/data, label: data}
  - service_name: other
    source: oci:dir:tag
    version: 1.0.0
    network:
      type: simple
      ipv4: 10.0.3.5/24
      ports:
        - {host: 81, container: 81}
`;

function problemsOf(text: string): readonly string[] {
  try {
    parseManifestYaml(text, "m.yaml");
  } catch (error) {
    if (error instanceof MosError && error.code === "manifest-invalid") return error.problems;
    throw error;
  }
  return [];
}

/** The good manifest with one change, and the problem that it must give. */
const refused: readonly (readonly [what: string, from: string | RegExp, to: string, problem: string])[] = [
  [
    "an unknown key",
    "    version: 1.0.0\n    nsgroup",
    "    verison: 1.0.0\n    nsgroup",
    "targets.0.verison: unknown key; did you mean version?",
  ],
  ["a wrong type", "persistent: true", "persistent: perhaps", "storage.0.persistent: "],
  ["another version", "version: 1\n", "version: 2\n", "version: must be 1"],
  [
    "a duplicate service name",
    "service_name: other",
    "service_name: web",
    "the service name web is already used by targets.0",
  ],
  ["a name with '/'", "service_name: other", "service_name: a/b", "targets.1.service_name: may have letters"],
  [
    "a name with '..'",
    "service_name: other",
    "service_name: a..b",
    "targets.1.service_name: must not contain '..'",
  ],
  [
    "a name with a newline",
    "service_name: other",
    'service_name: "a\\nb"',
    "targets.1.service_name: may have letters",
  ],
  [
    "a name of 300 characters",
    "service_name: other",
    `service_name: ${"x".repeat(300)}`,
    "must not be longer than 63",
  ],
  ["an empty name", "service_name: other", 'service_name: ""', "targets.1.service_name: must not be empty"],
  ["two services on one port", "host: 81", "host: 80", "host port 80 is already published by web"],
  ["port 0", "host: 81", "host: 0", "targets.1.network.ports.0.host: must be 1 to 65535"],
  [
    "port 65536",
    "container: 81",
    "container: 65536",
    "targets.1.network.ports.0.container: must be 1 to 65535",
  ],
  [
    "an address that cannot be parsed",
    "10.0.3.5/24",
    "10.0.3.500/24",
    "targets.1.network.ipv4: must be an IPv4 address with prefix",
  ],
  [
    "an address without prefix",
    "10.0.3.5/24",
    "10.0.3.5",
    "targets.1.network.ipv4: must be an IPv4 address with prefix",
  ],
  ["the same address twice", "10.0.3.5/24", "10.0.3.4/24", "the address 10.0.3.4 is already used by web"],
  ["the gateway's address", "10.0.3.5/24", "10.0.3.1/24", "10.0.3.1 is the subnet's gateway"],
  ["the broadcast address", "10.0.3.5/24", "10.0.3.255/24", "own network or broadcast address"],
  ["a subnet inside another", "10.0.3.5/24", "10.0.3.130/25", "overlaps 10.0.3.0/24 of web"],
  ["a label that is not declared", "label: data}", "label: dada}", "no volume of the label dada is declared"],
  [
    "a volume of another group",
    "    nsgroup: web\n    network",
    "    nsgroup: wob\n    network",
    "belongs to the nsgroup web",
  ],
  ["a reserved label", /data(?=\n {4}persistent|\})/g, "esp", "storage.0.label: is reserved"],
  ["a mount over the root", "dest: /var/data", "dest: /", "must not be the root directory"],
  ["a mount with '..'", "dest: /var/data", "dest: /var/../etc", "must not have empty, '.' or '..' parts"],
  ["a mount with podman options in it", "dest: /var/data", 'dest: "/var:rw"', "must not have any of"],
  ["a size that is no size", "size: 30G", "size: huge", "storage.0.size"],
  [
    "ports without a network to publish on",
    /type: simple\n {6}ipv4: 10.0.3.5\/24/,
    "type: host",
    "ports can be published on a network of type simple only",
  ],
  [
    "a product of two lines",
    "product: demo",
    'product: "a\\nb"',
    "product: must be one line of printable text",
  ],
  [
    "a share of devices above all",
    "product: demo",
    "product: demo\nrelease: {serial: 1, rollout: {percent: 101}}",
    "release.rollout.percent: must be 0 to 100",
  ],
  [
    "a rollout that grows from no time",
    "product: demo",
    "product: demo\nrelease: {serial: 1, rollout: {percent: 1, over: 24}}",
    "release.rollout.over: needs `from`",
  ],
  ["no targets", /targets:[\s\S]*/, "targets: []\n", "targets: must list at least one target"],
  ["a key twice", "product: demo", "product: demo\nproduct: demo", "Map keys must be unique"],
  ["broken YAML", "targets:", "targets: [", "m.yaml:"],
  ["an alias", "product: demo", "product: &x demo\nupdate_type: *x", "aliases are not allowed"],
];

describe("a manifest in YAML", () => {
  it("is read with its defaults filled in, and sizes in MiB", () => {
    const manifest = parseManifestYaml(good, "m.yaml");
    expect(manifest.update_type).toBe("complete");
    expect(manifest.storage[0]?.size).toBe(30 * 1024);
    expect(manifest.targets[1]).toMatchObject({ service_type: "container", nsgroup: "", storage: [] });
  });

  it.each(refused)("is refused with %s", (_what, from, to, problem) => {
    const bad = good.replace(from, to);
    expect(bad).not.toBe(good);
    const problems = problemsOf(bad);
    expect(problems.join("\n")).toContain(problem);
  });

  it("names line and column of every problem, all at once", () => {
    const bad = good
      .replace("host: 81", "host: 0")
      .replace("size: 30G", "size: 0")
      .replace("product", "produkt");
    expect(problemsOf(bad)).toEqual([
      expect.stringMatching(/^m\.yaml:\d+:\d+: product: /),
      "m.yaml:2:1: produkt: unknown key; did you mean product?",
      expect.stringMatching(/^m\.yaml:7:5: storage\.0\.size: /),
      "m.yaml:27:12: targets.1.network.ports.0.host: must be 1 to 65535",
    ]);
  });
});
