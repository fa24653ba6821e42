// What a device refuses of a manifest that its own project has signed: a key that signs is no licence to write
// anything (attacks A08, A10, A21, A22). Each test makes one change to a sound install.json before it is signed.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AgentContext } from "../../src/agent/context.ts";
import { parseJson } from "../../src/system/json.ts";
import {
  expectRefused,
  goodParts,
  type Image,
  installManifest,
  makeSigners,
  packImage,
  runningDevice,
  type Signers,
  writeParts,
} from "./refusals-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

interface Fields {
  [name: string]: unknown;
}

/** install.json as far as the changes below need to know it. */
interface Document extends Fields {
  targets: [Fields & { network: Fields }, ...Fields[]];
}

let work: string;
let signers: Signers;
let image: Image;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  image = await packImage(work, 16, "service");
});
afterAll(() => rm(work, { recursive: true, force: true }));

function sound(): Document {
  return parseJson(installManifest(image), "install.json") as unknown as Document;
}

let layouts = 0;
async function publishSigned(text: string): Promise<string> {
  return await writeParts(join(work, `layout-${layouts++}`), goodParts(signers, image, Buffer.from(text)));
}

/** A device that runs something refuses the text as it is, signed by its own project. */
async function expectTextRefused(text: string, code: string) {
  const device: AgentContext = await runningDevice(signers, image);
  return await expectRefused(device, await publishSigned(text), code);
}

const simple = (ports: unknown, ipv4: unknown = "") => ({ type: "simple", ipv4, ipv6: "", ports });
const port = (host: unknown, container: unknown = 80) => [{ host, container }];

describe("a signed manifest is refused with", () => {
  const inTarget = (change: Fields) => (document: Document) => Object.assign(document.targets[0], change);
  const second = (change: Fields) => (document: Document) => {
    document.targets.push({ ...document.targets[0], service_name: "second", ...change });
  };
  const changes: Record<string, readonly [change: (document: Document) => unknown, problem: RegExp]> = {
    "an unknown key": [(d) => Object.assign(d, { comment: "x" }), /^comment: unknown key/],
    "an unknown key in a target": [inTarget({ privileged: true }), /^targets\.0\.privileged: unknown key/],
    "a text for a number": [(d) => Object.assign(d, { version: "1" }), /^version: /],
    "a number for a text": [inTarget({ version: 1 }), /^targets\.0\.version: /],
    "another version": [(d) => Object.assign(d, { version: 2 }), /^version: must be 1/],
    "a duplicate service name": [
      second({ service_name: "web" }),
      /^targets\.1\.service_name: .*already used/,
    ],
    "a slash in a name": [inTarget({ service_name: "web/../../etc" }), /^targets\.0\.service_name: /],
    "two dots in a name": [inTarget({ service_name: "web..x" }), /'\.\.'/],
    "a name that is two dots": [inTarget({ service_name: ".." }), /^targets\.0\.service_name: /],
    "a newline in a name": [
      inTarget({ service_name: "web\nExecStart=/bin/evil" }),
      /^targets\.0\.service_name: /,
    ],
    "a name of 300 characters": [inTarget({ service_name: "n".repeat(300) }), /longer than 63/],
    "an nsgroup that leaves its directory": [inTarget({ nsgroup: "../x" }), /^targets\.0\.nsgroup: /],
    "a newline in a version": [
      inTarget({ version: "1\n[Service]" }),
      /^targets\.0\.version: must be one line/,
    ],
    "a newline in the product": [(d) => Object.assign(d, { product: "a\nb" }), /^product: must be one line/],
    "a port that two services publish": [
      (d) => {
        d.targets[0].network = simple(port(80));
        second({ network: simple(port(80, 81)) })(d);
      },
      /^targets\.1\.network\.ports\.0\.host: .*80 is already published by web/,
    ],
    "port 0": [
      inTarget({ network: simple(port(0)) }),
      /^targets\.0\.network\.ports\.0\.host: must be 1 to 65535/,
    ],
    "port 65536": [inTarget({ network: simple(port(65_536)) }), /must be 1 to 65535/],
    "container port 0": [
      inTarget({ network: simple(port(80, 0)) }),
      /ports\.0\.container: must be 1 to 65535/,
    ],
    "a port on a network of the host": [
      inTarget({ network: { ...simple(port(80)), type: "host" } }),
      /can be published on a network of type simple only/,
    ],
    "an address that is none": [
      inTarget({ network: simple([], "10.0.3.256/24") }),
      /^targets\.0\.network\.ipv4: must be an IPv4/,
    ],
    "an address without a prefix": [
      inTarget({ network: simple([], "10.0.3.9") }),
      /must be an IPv4 address with prefix/,
    ],
    "a label that is not declared": [
      inTarget({ storage: [{ dest: "/data", label: "data" }] }),
      /^targets\.0\.storage\.0\.label: no volume of the label data is declared/,
    ],
    "a mount over the root": [
      (d) => {
        d["storage"] = [{ label: "data", persistent: true, nsgroup: "web", size: 1 }];
        inTarget({ storage: [{ dest: "/", label: "data" }] })(d);
      },
      /must not be the root directory/,
    ],
    "a volume of another group": [
      (d) => {
        d["storage"] = [{ label: "data", persistent: true, nsgroup: "other", size: 1 }];
        inTarget({ storage: [{ dest: "/data", label: "data" }] })(d);
      },
      /belongs to the nsgroup other/,
    ],
    "a digest of another algorithm": [
      inTarget({ digest: `sha512:${"0".repeat(128)}` }),
      /^targets\.0\.digest: /,
    ],
  };

  test.each(Object.keys(changes))("%s", async (name) => {
    const [change, problem] = changes[name] ?? [];
    const document = sound();
    change?.(document);
    const error = await expectTextRefused(JSON.stringify(document), "manifest-refused");
    expect(error.problems.join("\n")).toMatch(problem ?? /^$/);
  });
});

describe("a signed manifest is no JSON that two readers read alike", () => {
  const texts: Record<string, (text: string) => string> = {
    "a key twice": (text) => text.replace('"version":1', '"version":1,"version":1'),
    __proto__: (text) => text.replace('"version":1', '"version":1,"__proto__":{}'),
    "nested without end": () => `${"[".repeat(100_000)}${"]".repeat(100_000)}`,
    "text after its end": (text) => `${text}{}`,
    "a byte order mark": (text) => `\ufeff${text}`,
    "cut off": (text) => text.slice(0, -1),
  };
  test.each(Object.keys(texts))("%s", async (name) => {
    const change = texts[name] ?? (() => "");
    await expectTextRefused(change(JSON.stringify(sound())), "document-invalid");
  });
});

test("a partial manifest is for another product than what runs", async () => {
  const text = JSON.stringify({ ...sound(), update_type: "partial" });
  await expectTextRefused(text, "partial-refused");
});

test("an image manifest has another size than the signed one", async () => {
  const document = sound();
  Object.assign(document.targets[0], { size: image.manifest.bytes.length + 1 });
  await expectTextRefused(JSON.stringify(document), "size-mismatch");
});

test("an install.json of more than the limit is not read", async () => {
  const device = await runningDevice(signers, image);
  const reference = await publishSigned(`${JSON.stringify(sound())}${" ".repeat(1024 * 1024)}`);
  await expectRefused(device, reference, "too-large");
});
