// The parts of docs/reference that are made from the sources: what goes wrong (errors.md), what a manifest may say
// (manifest.md, manifest.schema.json), what a description of an OS image may say (image.md, image.schema.json), what a trust policy may say (policy.md), how a device may be told to fetch
// (fetch.md), and when to update itself (update.md). `node_modules/.bin/node tools/reference.ts` writes them; with --check
// it only says whether they are what the sources say.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as z from "zod";
import { updateSettingsSchema } from "../src/agent/update-settings.ts";
import { catalogue, exitCodes } from "../src/errors/catalogue.ts";
import { imageJsonSchema } from "../src/image/json-schema.ts";
import { manifestJsonSchema } from "../src/manifest/json-schema.ts";
import { reservedLabels } from "../src/manifest/names.ts";
import { fetchSettingsSchema } from "../src/oci/fetch-settings.ts";
import { builtInPolicy, policySchema } from "../src/trust/policy.ts";
import { checkout } from "./stamp.ts";

const generated = "<!-- Made by tools/reference.ts; edit the sources, not this file. -->";

// ---- errors.md ---------------------------------------------------------------------------------------------

/** What an exit code says, for the headings and for scripts. */
const exitMeanings: Readonly<Record<keyof typeof exitCodes, string>> = {
  failure: "something else failed",
  usage: "the command line is wrong",
  input: "something that a person wrote is wrong",
  refused: "a check refused it; nothing on the device has changed",
  source: "the registry or layout cannot be reached or is broken",
  state: "no space, no permission, or damaged state on this machine",
  busy: "another transaction is running",
  unhealthy: "a service or a layer is not well",
};

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
  return [line(headings), `|${"---|".repeat(headings.length)}`, ...rows.map(line)].join("\n");
}

function errorsPage(): string {
  const classes = Object.entries(exitCodes).toSorted(([, a], [, b]) => a - b);
  const isClass = (name: string): name is keyof typeof exitCodes => Object.hasOwn(exitCodes, name);
  const meaningOf = (name: string): string => (isClass(name) ? exitMeanings[name] : "");
  const sections = classes.map(([name, exit]) => {
    const rows = Object.entries(catalogue)
      .filter(([, entry]) => entry.exit === exit)
      .map(([code, { means, hint }]) => [`\`${code}\``, means, hint]);
    return `## Exit ${exit}: ${meaningOf(name)}\n\n${table(["code", "means", "usual hint"], rows)}\n`;
  });
  return `${generated}
# Errors

Every error has a code that never changes its meaning, a sentence, often the thing it is about, and a hint. With \`--json\` a command prints it as \`{"error": {"code", "message", "about"?, "hint", "problems"?}}\` on standard output. Whoever raises an error may give a better hint than the usual one listed here. Exit code 0 is success.

${sections.join("\n")}`;
}

// ---- manifest.md -------------------------------------------------------------------------------------------

/** As much of JSON Schema as zod makes of the manifest. */
interface Node {
  readonly type?: string | undefined;
  readonly const?: unknown;
  readonly enum?: readonly unknown[] | undefined;
  readonly default?: unknown;
  readonly description?: string | undefined;
  readonly pattern?: string | undefined;
  readonly format?: string | undefined;
  readonly minimum?: number | undefined;
  readonly maximum?: number | undefined;
  readonly minLength?: number | undefined;
  readonly maxLength?: number | undefined;
  readonly minItems?: number | undefined;
  readonly maxItems?: number | undefined;
  readonly items?: Node | undefined;
  readonly anyOf?: readonly Node[] | undefined;
  readonly properties?: Readonly<Record<string, Node>> | undefined;
  /** Of a record, what its values are; of an object with known keys, false. */
  readonly additionalProperties?: Node | boolean | undefined;
  readonly required?: readonly string[] | undefined;
}

const nodeSchema: z.ZodType<Node> = z.object({
  type: z.string().optional(),
  const: z.unknown().optional(),
  enum: z.array(z.unknown()).optional(),
  default: z.unknown().optional(),
  description: z.string().optional(),
  pattern: z.string().optional(),
  format: z.string().optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  minLength: z.number().optional(),
  maxLength: z.number().optional(),
  minItems: z.number().optional(),
  maxItems: z.number().optional(),
  get items() {
    return nodeSchema.optional();
  },
  get anyOf() {
    return z.array(nodeSchema).optional();
  },
  get properties() {
    return z.record(z.string(), nodeSchema).optional();
  },
  get additionalProperties() {
    return z.union([z.boolean(), nodeSchema]).optional();
  },
  required: z.array(z.string()).optional(),
});

/** Patterns that have a name of their own below the tables. */
const namedPatterns: ReadonlyMap<string, string> = new Map([
  ["^[A-Za-z0-9][A-Za-z0-9_.-]*$", "[name](#names-and-text)"],
  ["^sha256:[0-9a-f]{64}$", "`sha256:` and 64 lower-case hex digits"],
  ["^[1-9][0-9]{0,8}[MGT]$", "number with `M`, `G` or `T`"],
  ["^[A-Za-z_][A-Za-z0-9_]*=", "`NAME=value`"],
  ["^[0-9a-f]{64}$", "64 lower-case hex digits"],
  ["^([01][0-9]|2[0-3]):[0-5][0-9]$", "`HH:MM`"],
  ["^[a-z0-9][a-z0-9._~^-]{0,63}$", "1 to 64 of `a-z 0-9 . _ ~ ^ -`"],
  ["^[a-z0-9][a-z0-9+.-]+$", "a package's name"],
  ["^[\\x20-\\x7e]*$", "printable ASCII, at most 1024 characters"],
  ["^(?:rootfs:|oci:|docker:\\/\\/).", "`rootfs:…`, `oci:…`, `docker://…`"],
  ["^oci:.", "`oci:DIR:TAG`"],
  ["^0[0-7]{3}$", "octal, such as `0644`"],
  ["^[1-9][0-9]{0,6}[MGT]$", "number with `M`, `G` or `T`"],
  ["^(?:\\/(?!\\.{1,2}(?:\\/|$))[^/\\0\\n]+)+$", "absolute path"],
  // Of a template literal; the rest of its rule is in the description.
  ["^tpm-nv:[\\s\\S]{0,}$", "`tpm-nv:INDEX`"],
  ["^file:[\\s\\S]{0,}$", "`file:PATH`"],
  ["^http:\\/\\/[^/@?#\\s]+\\/?$", "`http://HOST:PORT`"],
  ["^\\/[^\\0]+$", "absolute path"],
]);

function code(value: unknown): string {
  return `\`${JSON.stringify(value)}\``;
}

function typeOf(node: Node): string {
  if (node.const !== undefined) return code(node.const);
  if (node.enum !== undefined) return node.enum.map(code).join(", ");
  if (node.anyOf !== undefined) return node.anyOf.map(typeOf).join(" or ");
  if (node.format === "date-time") return "time in UTC, `2027-01-31T00:00:00Z`";
  if (node.pattern !== undefined) return namedPatterns.get(node.pattern) ?? `matches \`${node.pattern}\``;
  if (node.type === "array") {
    const items = node.items?.properties === undefined ? typeOf(node.items ?? {}) : "object";
    const least = node.minItems === undefined ? "" : `${node.minItems} to `;
    return `list of ${least}${node.minItems === undefined ? "at most " : ""}${node.maxItems ?? "any number"}: ${items}`;
  }
  if (node.type === "integer") return `${node.minimum} to ${node.maximum}`;
  if (node.type === "string") {
    if (node.maxLength === undefined) return "text";
    return `text, ${node.minLength === undefined ? "at most" : `${node.minLength} to`} ${node.maxLength} characters`;
  }
  if (node.type === "number") return `${node.minimum} to ${node.maximum}`;
  if (node.type === "object" && typeof node.additionalProperties === "object") {
    return `object of: ${typeOf(node.additionalProperties)}`;
  }
  return node.type ?? "anything";
}

interface Field {
  readonly path: string;
  readonly type: string;
  readonly need: string;
  readonly meaning: string;
}

function fieldsOf(node: Node, prefix: string): Field[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, field]) => {
    const path = `${prefix}${name}`;
    const isRequired = node.required?.includes(name) === true;
    const fallback = field.default === undefined ? "optional" : code(field.default);
    const own: Field = {
      path,
      type: typeOf(field),
      need: isRequired ? "required" : fallback,
      meaning: field.description ?? "",
    };
    return [own, ...fieldsOf(field, `${path}.`), ...fieldsOf(field.items ?? {}, `${path}[].`)];
  });
}

/** Every field of manifest.yaml, in the order of the schema. */
export function manifestFields(): readonly Field[] {
  return fieldsOf(nodeSchema.parse(manifestJsonSchema()), "");
}

const fieldHeadings = ["field", "value", "default", "meaning"];

function fieldTable(fields: readonly Field[]): string {
  return table(
    fieldHeadings,
    fields.map(({ path, type, need, meaning }) => [`\`${path}\``, type, need, meaning]),
  );
}

function manifestPage(): string {
  const fields = manifestFields();
  const tableOf = (wanted: (path: string) => boolean): string =>
    fieldTable(fields.filter(({ path }) => wanted(path)));
  const isRelease = (path: string): boolean => path.startsWith("release");
  const isTarget = (path: string): boolean => path.startsWith("targets[]");
  const isVolume = (path: string): boolean => path.startsWith("storage[]");
  return `${generated}
# manifest.yaml

What a publisher writes and \`mosb manifest publish\` compiles. [manifest.schema.json](manifest.schema.json) is the same as JSON Schema (also printed by \`mosb manifest schema\`); \`mosb manifest check FILE\` reports every problem with line and column. Unknown keys, duplicate keys, aliases and merge keys are errors.

## The manifest

${tableOf((path) => !isTarget(path) && !isVolume(path) && !isRelease(path))}

## Volumes

${tableOf(isVolume)}

## Targets

${tableOf(isTarget)}

## Release

${tableOf(isRelease)}

## Names and text

A *name* has 1 to 63 letters, digits, \`_\`, \`.\` and \`-\`, begins with a letter or digit, and does not contain \`..\`. Volumes may not be called ${[...reservedLabels].map((label) => `\`${label}\``).join(", ")}: the published system has partitions of these names.

\`product\`, \`version\` and \`source\` are one line of printable text. \`dest\` and \`working_dir\` are absolute and normalised, and have none of \`: , " ' \\ % $\`. \`dest\` is not \`/\`.

## Rules over several fields

- Service names and volume labels are unique. So are published host ports, over all services, and addresses.
- Ports and addresses are for networks of type \`simple\`.
- The subnets of two addresses are the same or have nothing in common. The first address of a subnet is its gateway's; it, the network's own address and the last address cannot be given to a service.
- Every \`storage[].label\` of a target is declared under the manifest's \`storage\`, with the same nsgroup. A target mounts one volume at a place.
- Only a target of type \`container\` uses volumes.
- A release with \`anchors\` or \`revoked\` is of an epoch above 0.
- A \`rootfs:\` source of a container has an \`image.entrypoint\` or an \`image.cmd\`.

A device checks install.json by the same rules, except the last one: there every target has an image, which must say what to run.

## Example

\`\`\`yaml
version: 1
product: 3b2a6d1e-6f0f-4d0a-9a2c-0f6d8f1f7c55
storage:
  - { label: registry-data, persistent: true, nsgroup: registry, size: 30G }
targets:
  - service_name: registry
    source: rootfs:./registry-root
    version: 2.8.2
    nsgroup: registry
    image:
      entrypoint: [/usr/bin/docker-registry, serve, /etc/docker/registry/config.yml]
    network:
      type: simple
      ports: [{ host: 80, container: 5000 }]
    storage: [{ label: registry-data, dest: /var/lib/docker-registry }]
\`\`\`
`;
}

// ---- policy.md ---------------------------------------------------------------------------------------------

function policyPage(): string {
  const fields = fieldsOf(nodeSchema.parse(z.toJSONSchema(policySchema, { io: "input" })), "");
  const { source: _, ...builtIn } = builtInPolicy;
  return `${generated}
# policy.json

Whom a device trusts. The first of these files that is there decides, whole; the others are not read:

1. \`/run/mos/initrd/policy.json\`: what came with the initrd, and so with the signed UKI
2. \`/usr/lib/mos/policy.json\`: what is on the root file system of the image
3. \`/etc/mos/policy.json\`

A file that is broken, or that others than its owner may write to, stops everything with \`policy-invalid\`: a policy is never guessed. \`mosctl status\` and \`mosctl verify\` say which one holds. [What it protects against](../explanation/trust.md).

${fieldTable(fields)}

Sources that are not there are passed over; one that is there and cannot be used stops everything with \`anchor-invalid\` or \`anchor-unverified\`.

Without a file this holds:

\`\`\`json
${JSON.stringify(builtIn, null, 2)}
\`\`\`

A device whose CA is in its firmware, whose epoch is in its TPM, and that takes two signers:

\`\`\`json
{
  "version": 1,
  "anchors": ["efi-db", "tpm-nv:0x01500063"],
  "product": "3b2a6d1e-6f0f-4d0a-9a2c-0f6d8f1f7c55",
  "signatures": 2,
  "tpm": "required"
}
\`\`\`
`;
}

// ---- fetch.md ----------------------------------------------------------------------------------------------

function fetchPage(): string {
  const fields = fieldsOf(nodeSchema.parse(z.toJSONSchema(fetchSettingsSchema, { io: "input" })), "");
  return `${generated}
# fetch.json

How a device fetches updates. The first of these files that is there holds, whole:

1. \`/etc/mos/fetch.json\`
2. \`/usr/lib/mos/fetch.json\`: what is on the root file system of the image

It is read at each update. A file that is broken, or that others than its owner may write to, stops the update with \`fetch-settings-invalid\`. Nothing in it is trusted to say *what* is fetched: that do only signatures and digests. [How to](../how-to/fetch.md).

${fieldTable(fields)}

Without \`proxy\`, the agent's environment counts: \`HTTPS_PROXY\`, \`HTTP_PROXY\` and \`NO_PROXY\`, or their lower-case forms. \`mosb\` reads only these.

\`\`\`json
{
  "version": 1,
  "mirrors": { "registry.example.com": ["cache.site.example", "http://10.0.0.5:5000/copies"] },
  "proxy": { "url": "http://proxy.site.example:3128", "passwordFile": "/etc/mos/proxy-password", "except": ["10.0.0.0/8"] },
  "rateLimit": 500000
}
\`\`\`
`;
}

// ---- update.md ---------------------------------------------------------------------------------------------

function updatePage(): string {
  const fields = fieldsOf(nodeSchema.parse(z.toJSONSchema(updateSettingsSchema, { io: "input" })), "");
  return `${generated}
# update.json

When and from where a device updates itself. The first of these files that is there holds, whole; without one the device does not update itself:

1. \`/etc/mos/update.json\`
2. \`/usr/lib/mos/update.json\`: what is on the root file system of the image

\`mos-update.timer\` has \`mosctl update --unattended\` look every half hour, at a moment that is each device's own. A file that is broken, or that others than its owner may write to, stops it with \`update-settings-invalid\`. [How to](../how-to/device.md#update-by-itself).

${fieldTable(fields)}

Where clocks are put forward, a window in the hour that is skipped does not open that day; where they are put back, one in the hour that is repeated opens twice. While the clock says a time before mos was built, the device does not update itself.

\`\`\`json
{
  "version": 1,
  "channel": "registry.example.com/machine/install:stable",
  "window": { "days": ["mon", "tue", "wed", "thu"], "from": "23:00", "to": "04:30" },
  "whenIdle": true
}
\`\`\`
`;
}

// ---- image.md ----------------------------------------------------------------------------------------------

function imagePage(): string {
  const fields = fieldsOf(nodeSchema.parse(imageJsonSchema()), "");
  return `${generated}
# image.yaml

What \`mosb image build\` builds an OS image from. [image.schema.json](image.schema.json) is the same as JSON Schema (also printed by \`mosb image schema\`); \`mosb image check FILE\` reports every problem with line and column. Unknown keys, duplicate keys, aliases and merge keys are errors. Relative paths start at the description's directory. [How to](../how-to/image.md).

${fieldTable(fields).replaceAll("(#names-and-text)", "(manifest.md#names-and-text)")}

\`\`\`yaml
version: 1
name: demo
release: "1.0.0"
root:
  debian:
    kernel: linux-image-amd64
    packages: [openssh-server]
  install: [mos_0.1.0_amd64.deb]
  files:
    - { path: /etc/systemd/network/80-lan.network, content: "[Match]\\nType=ether\\n[Network]\\nDHCP=yes\\n" }
boot:
  keyset: demo
  command_line: console=ttyS0
trust:
  product: 3b2a6d1e-6f0f-4d0a-9a2c-0f6d8f1f7c55
services: oci:release:1.0.0
disk: { esp: 512M, state: 8G }
\`\`\`
`;
}

// ---- the files ---------------------------------------------------------------------------------------------

/** Path below the checkout → content. */
export function referencePages(): ReadonlyMap<string, string> {
  return new Map([
    ["docs/reference/errors.md", errorsPage()],
    ["docs/reference/manifest.md", manifestPage()],
    ["docs/reference/policy.md", policyPage()],
    ["docs/reference/fetch.md", fetchPage()],
    ["docs/reference/update.md", updatePage()],
    ["docs/reference/image.md", imagePage()],
    ["docs/reference/image.schema.json", `${JSON.stringify(imageJsonSchema(), null, 2)}\n`],
    ["docs/reference/manifest.schema.json", `${JSON.stringify(manifestJsonSchema(), null, 2)}\n`],
  ]);
}

async function main(args: readonly string[]): Promise<void> {
  const isCheck = args[0] === "--check";
  if (args.length > 1 || (args.length === 1 && !isCheck))
    throw new Error("usage: tools/reference.ts [--check]");
  for (const [path, content] of referencePages()) {
    const file = join(checkout, path);
    const before = await readFile(file, "utf8").catch(() => undefined);
    if (before === content) continue;
    if (isCheck) {
      console.error(`${path} is stale: run node_modules/.bin/node tools/reference.ts`);
      process.exitCode = 1;
    } else {
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, content);
      console.log(`wrote ${path}`);
    }
  }
}

if (import.meta.main) await main(process.argv.slice(2));
