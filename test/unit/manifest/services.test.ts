// Fields of a service that say how it runs: what fits together, what is refused, and that no text in them can become
// anything else than itself.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { encodeInstallManifest, parseInstallManifest } from "../../../src/manifest/install-json.ts";
import { parseManifestYaml } from "../../../src/manifest/manifest-yaml.ts";
import { checkRules } from "../../../src/manifest/rules.ts";
import type { InstallManifest, Target } from "../../../src/manifest/schema.ts";
import { renderUnits } from "../../../src/services/render.ts";
import { goldenCases } from "../../golden-cases.ts";
import { sampleInput, sampleManifest, sampleTarget } from "../../samples.ts";

function problems(change: Partial<Target>, ...others: readonly Target[]): string[] {
  const manifest = sampleManifest({ targets: [sampleTarget(change), ...others] });
  return checkRules(manifest).map(({ path, message }) => `${path.join(".")}: ${message}`);
}

/** A service with paths that stay read-only. */
function ro(security: Target["security"], ...paths: readonly string[]): Partial<Target> {
  return { security: { ...security, read_only_paths: [...paths] } };
}

const simple: Target["network"] = { type: "simple", ipv4: "", ipv6: "", ports: [] };

describe("fields of services", () => {
  it("come back from install.json as they went in, in the same bytes", () => {
    for (const input of Object.values(goldenCases)) {
      const { manifest } = input();
      const bytes = encodeInstallManifest(manifest);
      const read = parseInstallManifest(bytes);
      expect(read).toEqual(manifest);
      expect(encodeInstallManifest(read)).toEqual(bytes);
    }
  });

  it("may be written with units and short forms in YAML", () => {
    const text = `version: 1
product: p
targets:
  - service_name: db
    source: rootfs:db
    version: "1"
    limits: { memory: 1G, cpus: 0.5, scratch: 8M }
    run: { start_timeout: 5m }
  - service_name: web
    source: rootfs:web
    version: "1"
    depends_on: [db]
`;
    const [db, web] = parseManifestYaml(text, "m.yaml").targets;
    expect(db?.limits).toEqual({ memory: 1024, cpus: 0.5, scratch: 8 });
    expect(db?.run).toEqual({ start_timeout: 300 });
    expect(web?.depends_on).toEqual([{ service: "db", condition: "started" }]);
  });

  const unfitting: readonly [string, Partial<Target>, RegExp][] = [
    ["a target that is not there", { mounts: [{ service: "no", dest: "/m" }] }, /no target no/],
    ["one that runs", { mounts: [{ service: "db", dest: "/m" }] }, /only fs-only/],
    [
      "one of other owners",
      { mounts: [{ service: "foreign", dest: "/m" }] },
      /belongs to the nsgroup foreign/,
    ],
    [
      "two in one place",
      {
        mounts: [
          { service: "data", dest: "/m" },
          { service: "data", dest: "/m" },
        ],
      },
      /is where the root of data is mounted/,
    ],
    [
      "one where a file is",
      { mounts: [{ service: "data", dest: "/m" }], files: [{ dest: "/m", content: "" }] },
      /\/m is where the root of data is mounted/,
    ],
  ];
  it.each(unfitting)("refuse the files of %s", (_, change, message) => {
    const others = [
      sampleTarget({ service_name: "db" }),
      sampleTarget({ service_name: "data", service_type: "fs-only" }),
      sampleTarget({ service_name: "foreign", service_type: "fs-only", nsgroup: "foreign" }),
    ];
    expect(problems(change, ...others)).toEqual([expect.stringMatching(message)]);
  });

  it.each([
    ["to wait for nobody", { depends_on: [{ service: "no", condition: "started" }] }, /no service no/],
    ["to wait for itself", { depends_on: [{ service: "web", condition: "started" }] }, /for itself/],
    [
      "to wait for the health of a service that has none",
      { depends_on: [{ service: "db", condition: "healthy" }] },
      /health\.exec/,
    ],
    [
      "to wait for the end of what does not end",
      { depends_on: [{ service: "db", condition: "completed" }] },
      /never completes/,
    ],
    ["a job without a deadline", { run: { mode: "ephemeral" } }, /needs a deadline/],
    ["a deadline of a service", { run: { deadline: 5 } }, /only an ephemeral job/],
    ["a job that is begun again", { run: { mode: "ephemeral", deadline: 5, restart: "always" } }, /again/],
    ["a watchdog of a job", { run: { mode: "once", watchdog: 5 } }, /not a watchdog/],
    [
      "a watchdog and another who says that it is up",
      {
        run: { watchdog: 5 },
        health: { exec: ["/x"], interval: 1, timeout: 1, retries: 1, start_period: 0, required: true },
      },
      /not both/,
    ],
    ["a read-only path and a read-only root", ro({ read_only: true }, "/a"), /whole root is read-only/],
    ["a read-only path twice", ro({}, "/a", "/a"), /already read_only_paths\.0/],
    ["a read-only path in another one", ro({}, "/a/b", "/a"), /is in \/a/],
    ["a read-only path that is not of the root", ro({}, "/run/lock"), /\/run is made anew/],
    [
      "a read-only path in a volume",
      { ...ro({}, "/data/x"), storage: [{ dest: "/data", label: "x" }] },
      /overlaps \/data, where the volume x is mounted/,
    ],
    [
      "a read-only path with a file of the manifest in it",
      { ...ro({}, "/etc"), files: [{ dest: "/etc/a", content: "" }] },
      /overlaps \/etc\/a/,
    ],
    [
      "a read-only path with a mount in it",
      { ...ro({}, "/opt"), mounts: [{ service: "db", dest: "/opt/db" }] },
      /overlaps \/opt\/db, where the root of db/,
    ],
    ["limits of what does not run", { service_type: "fs-only", limits: { pids: 1 } }, /does not run/],
    ["names without a network", { network: { ...simple, type: "none", hosts: ["db"] } }, /type simple only/],
    ["the name of what has no network", { network: { ...simple, hosts: ["db"] } }, /not on the network/],
    [
      "ports beyond the last",
      { network: { ...simple, ports: [{ host: 65_535, container: 1, count: 2 }] } },
      /beyond port 65535/,
    ],
    [
      "two files at one place",
      {
        files: [
          { dest: "/a", content: "" },
          { dest: "/a", content: "b" },
        ],
      },
      /already the file/,
    ],
  ] satisfies readonly (readonly [string, Partial<Target>, RegExp])[])(
    "are refused with %s",
    (_what, change, why) => {
      expect(problems(change, sampleTarget({ service_name: "db" })).join("\n")).toMatch(why);
    },
  );

  it("are refused with white space in a read-only path, which quadlet would take for another one", () => {
    for (const path of ["/opt/a /var/b", "/opt/a\u00a0b"])
      expect(accepted(sampleTarget(ro({}, path)))).toBeUndefined();
    expect(accepted(sampleTarget(ro({}, "/opt/é")))).toBeDefined();
  });

  it("are refused when services wait in a circle, however long", () => {
    const ring = (length: number) =>
      Array.from({ length }, (_, i) =>
        sampleTarget({
          service_name: `s${i}`,
          depends_on: [{ service: `s${(i + 1) % length}`, condition: "started" }],
        }),
      );
    for (const length of [2, 3, 50]) {
      expect(checkRules(sampleManifest({ targets: ring(length) })).length).toBe(length);
      expect(
        checkRules(
          sampleManifest({ targets: [...ring(length).slice(1), sampleTarget({ service_name: "s0" })] }),
        ),
      ).toEqual([]);
    }
  });

  it.each([
    ["the same port", { host: 80, container: 1 }, { host: 80, container: 2 }, true],
    ["a port within a range", { host: 80, container: 1, count: 10 }, { host: 89, container: 2 }, true],
    ["a port after a range", { host: 80, container: 1, count: 10 }, { host: 90, container: 2 }, false],
    ["another protocol", { host: 53, container: 1 }, { host: 53, container: 1, protocol: "udp" }, false],
    [
      "two addresses",
      { host: 80, container: 1, address: "192.0.2.1" },
      { host: 80, container: 1, address: "192.0.2.2" },
      false,
    ],
    [
      "one address and all",
      { host: 80, container: 1, address: "192.0.2.1" },
      { host: 80, container: 1 },
      true,
    ],
    [
      "one address and all, spelled out",
      { host: 80, container: 1, address: "192.0.2.1" },
      { host: 80, container: 1, address: "0.0.0.0" },
      true,
    ],
  ] as const)("see the conflict of two services that publish %s", (_what, one, two, conflict) => {
    const other = sampleTarget({ service_name: "b", network: { ...simple, ports: [two] } });
    expect(problems({ network: { ...simple, ports: [one] } }, other).length > 0).toBe(conflict);
  });

  it("keep nothing on a machine with one job", () => {
    const manifest = sampleManifest({
      targets: [sampleTarget({ run: { mode: "ephemeral", deadline: 60 } })],
      storage: [{ label: "a", persistent: true, nsgroup: "", size: 1 }],
    });
    expect(
      checkRules(manifest)
        .map(({ message }) => message)
        .join(),
    ).toMatch(/keeps nothing/);
  });
});

/** Text that has brought other systems down: line ends, quotes, specifiers, variables, separators, escapes, length. */
const nasty = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc
    .array(
      fc.constantFrom(
        "\n",
        "\r",
        "\0",
        '"',
        "'",
        "\\",
        "%n",
        "%%",
        "$HOME",
        `${"$"}{A}`,
        ";",
        ":",
        ",",
        "=",
        " ",
        "é",
        "\u2028",
        "[Service]\nExecStart=/bin/evil",
        "../",
        "#",
        "\ud800",
      ),
      { maxLength: 12 },
    )
    .map((parts) => parts.join("")),
  fc.constant("a".repeat(100_000)),
);

/** Each string field of the new ones, filled with a text. */
const places: Readonly<Record<string, (text: string) => Partial<Target>>> = {
  entrypoint: (text) => ({ image: { entrypoint: ["/bin/x", text] } }),
  cmd: (text) => ({ image: { cmd: [text] } }),
  env: (text) => ({ image: { env: [`A=${text}`] } }),
  "env name": (text) => ({ image: { env: [text] } }),
  user: (text) => ({ image: { user: text } }),
  working_dir: (text) => ({ image: { working_dir: text } }),
  stop_signal: (text) => ({ image: { stop_signal: text } }),
  label: (text) => ({ image: { labels: { a: text } } }),
  "label name": (text) => ({ image: { labels: { [text]: "a" } } }),
  exposed_ports: (text) => ({ image: { exposed_ports: [text] } }),
  volumes: (text) => ({ image: { volumes: [text] }, security: { read_only: true } }),
  "mount service": (text) => ({ mounts: [{ service: text, dest: "/m" }] }),
  "mount dest": (text) => ({ mounts: [{ service: "data", dest: text }] }),
  "file content": (text) => ({ files: [{ dest: "/etc/a", content: text }] }),
  "file dest": (text) => ({ files: [{ dest: text, content: "" }] }),
  read_only_paths: (text) => ({ security: { read_only_paths: [`/etc/${text}`] } }),
  device: (text) => ({ security: { devices: [{ path: `/dev/${text}` }] } }),
  pre_stop: (text) => ({ run: { pre_stop: ["/bin/x", text] } }),
  "pre_stop program": (text) => ({ run: { pre_stop: [`/${text}`] } }),
  dns: (text) => ({ network: { ...simple, dns: [text] } }),
  hosts: (text) => ({ network: { ...simple, hosts: [text] } }),
  address: (text) => ({ network: { ...simple, ports: [{ host: 1, container: 1, address: text }] } }),
  depends_on: (text) => ({ depends_on: [{ service: text, condition: "started" }] }),
};

/** Undefined when the device refuses the document. */
function accepted(target: Target): InstallManifest | undefined {
  const document = {
    ...JSON.parse(new TextDecoder().decode(encodeInstallManifest(sampleManifest()))),
    targets: [target],
  };
  try {
    return parseInstallManifest(new TextEncoder().encode(JSON.stringify(document)));
  } catch (error) {
    if (error instanceof MosError) return undefined;
    throw error;
  }
}

/** Key of each line of a unit, in order: what text must not be able to change. */
function keys(content: string): string[] {
  return content.split("\n").map((line) => (line.startsWith("[") ? line : (line.split("=")[0] ?? "")));
}

/** Undefined when the text cannot be passed on, which is found before anything has changed. */
function rendered(manifest: InstallManifest): readonly string[] | undefined {
  try {
    return renderUnits(sampleInput(manifest)).map(({ content }) => content);
  } catch (error) {
    if (error instanceof MosError && error.code === "image-unusable") return undefined;
    throw error;
  }
}

function expectOneValueEach(content: string): void {
  expect(/[\p{Cc}\p{Zl}\p{Zp}]/u.test(content.replaceAll("\n", ""))).toBe(false);
  for (const line of content.split("\n")) {
    // No specifier and no variable: mos writes none itself.
    expect(line.replaceAll("%%", "")).not.toMatch(/%/);
    if (/^(Exec|Entrypoint|Environment|User)/.test(line)) expect(line.replaceAll("$$", "")).not.toMatch(/\$/);
  }
}

describe("hostile text in a field of a service that a valid key signed (A21, A22, A30)", () => {
  for (const [field, place] of Object.entries(places)) {
    it(`is refused or stays one value: ${field}`, () => {
      const harmless =
        {
          "env name": "B=1",
          working_dir: "/w",
          "file dest": "/etc/b",
          exposed_ports: "80/tcp",
          volumes: "/v",
        }[field] ?? "SIGINT";
      const withText = (text: string) => sampleTarget({ nsgroup: "", ...place(text) });
      const sound = rendered(sampleManifest({ targets: [withText(harmless)] })) ?? [];
      const structure = (of: readonly string[]) => of.map(keys).sort();
      fc.assert(
        fc.property(nasty, (text) => {
          const manifest = accepted(withText(text));
          const units = manifest === undefined ? undefined : rendered(manifest);
          if (units === undefined || text === "") return;
          expect(structure(units)).toEqual(structure(sound));
          for (const content of units) expectOneValueEach(content);
        }),
        { numRuns: 200 },
      );
    });
  }
});
