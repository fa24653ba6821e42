// What a target of any source starts is looked for in its own image before anything is published: its interpreter, its
// libraries, and what layers have deleted.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { asMosError, type MosError } from "../../src/errors/mos-error.ts";
import type { LayerFormat } from "../../src/layers/pack.ts";
import { parseManifestYaml } from "../../src/manifest/manifest-yaml.ts";
import { type Published, publish } from "../../src/publish/publish.ts";
import { signerOf } from "../../src/publish/sign.ts";
import type { Project } from "../../src/trust/keyset.ts";
import { makeImageOf } from "../oci-image.ts";
import { temporaryDirectory } from "../support.ts";
import { type Made, tarOf } from "../unit/archives/tar-maker.ts";
import { writeElf, writeLoader } from "../unit/elf/elf-writer.ts";
import { make } from "../unit/trust/authority.ts";
import { layoutDestination, projectOf } from "./publish-fixture.ts";

let project: Project;
beforeAll(async () => {
  project = projectOf(await make({ issuer: await make({ ca: true }) }));
});

const loader = "/lib64/ld-linux-x86-64.so.2";
const exec = (path: string, content: Buffer | string): Made => ({ path, content, mode: 0o755 });
const library = (name: string): Made => ({ path: `usr/lib/${name}`, content: writeElf({ soname: name }) });
const directory = (path: string): Made => ({ path: `${path}/`, type: "5", mode: 0o755 });

/** A root with a loader, a C library and one more. */
const base: readonly Made[] = [
  ...["usr", "usr/lib", "usr/bin", "lib64", "opt"].map(directory),
  exec("lib64/ld-linux-x86-64.so.2", writeLoader(["/usr/lib"])),
  library("libc.so.6"),
  library("libz.so.1"),
  { path: "usr/lib/libz.so", type: "2", target: "libz.so.1" },
];
const service = exec(
  "usr/bin/service",
  writeElf({ interpreter: loader, needed: ["libz.so.1", "libc.so.6"] }),
);

interface Wanted {
  readonly format?: LayerFormat;
  readonly unchecked?: readonly string[];
  readonly more?: string;
}

async function published(source: string, { format = "squashfs", unchecked = [], more = "" }: Wanted = {}) {
  const to = await temporaryDirectory();
  const done: Published = await publish({
    manifest: parseManifestYaml(
      `version: 1\nproduct: p\ntargets:\n  - {service_name: web, version: "1", source: "${source}"${more}}\n`,
      "manifest.yaml",
    ),
    baseDirectory: to,
    signers: [signerOf(project, false)],
    destination: layoutDestination(to),
    ...{ format, unchecked, patchFrom: [] },
    created: "2026-01-01T00:00:00Z",
    onStep: () => undefined,
  });
  const [target] = done.targets;
  // As the published system finds images.
  return { outcome: done.outcome, image: `oci:${to}:${target?.digest.slice("sha256:".length)}` };
}

async function image(layers: readonly (readonly Made[])[], program = "/usr/bin/service", env: string[] = []) {
  const layout = join(await temporaryDirectory(), "image");
  const { source } = await makeImageOf(layout, layers.map(tarOf), { Entrypoint: [program], Env: env });
  return source;
}

async function refusal(work: Promise<unknown>): Promise<MosError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error === undefined) expect.fail("it was published");
  return asMosError(error);
}

const without = (name: string) => base.filter(({ path }) => !path.includes(name));

describe.each(["squashfs", "erofs"] as const)("an image of tar layers, published as %s", (format) => {
  it("whose program has all that it needs is published, also from one layer to another", async () => {
    const source = await image([base, [directory("usr"), directory("usr/bin"), service]]);
    expect(await published(source, { format })).toMatchObject({ outcome: "published" });
  });
  it("that lacks a library is refused by the library's name, and published where nobody is to look", async () => {
    const source = await image([[...without("libz"), service]]);
    const { code, message, problems } = await refusal(published(source, { format }));
    expect(code).toBe("program-unresolved");
    expect(message).toBe(
      "cannot run /usr/bin/service in the root of web: it needs libz.so.1, which that root does not have",
    );
    expect(problems.join()).toContain("/usr/bin/service needs libz.so.1");
    const { image: unchecked } = await published(source, { format, unchecked: ["web"] });
    // And again from what was published: the layer is one of a file system now.
    expect(await refusal(published(unchecked))).toMatchObject({ code, message });
  });
  it("in which an upper layer deletes a library, or all of its directory, is refused", async () => {
    const deleted: Made[] = [directory("usr"), directory("usr/lib"), { path: "usr/lib/.wh.libz.so.1" }];
    const opaque: Made[] = [
      directory("usr"),
      directory("usr/lib"),
      { path: "usr/lib/.wh..wh..opq" },
      library("libc.so.6"),
    ];
    for (const upper of [deleted, opaque]) {
      const source = await image([[...base, service], upper]);
      expect(await refusal(published(source, { format }))).toMatchObject({
        code: "program-unresolved",
        message: expect.stringContaining("it needs libz.so.1"),
      });
    }
  });
  it("in which an upper layer puts a file where a directory was is refused", async () => {
    const source = await image([[...base, service], [{ path: "lib64", content: "a file" }]]);
    expect((await refusal(published(source, { format }))).code).toBe("program-unresolved");
  });
});

describe("what an image starts", () => {
  it("is found by the image's own PATH, and the manifest's word comes before the image's", async () => {
    const source = await image([[...base, { ...service, path: "opt/run" }]], "run", ["PATH=/opt"]);
    expect(await published(source)).toMatchObject({ outcome: "published" });
    const more = ", image: {entrypoint: [/opt/other]}";
    expect((await refusal(published(source, { more }))).message).toContain("/opt/other");
  });
  it("may be a script, whose interpreter has to be there with its libraries", async () => {
    const script = exec("usr/bin/start", "#!/usr/bin/service -x\n");
    expect(await published(await image([[...base, service, script]], "/usr/bin/start"))).toMatchObject({
      outcome: "published",
    });
    const { message } = await refusal(published(await image([[...base, script]], "/usr/bin/start")));
    expect(message).toContain("its interpreter /usr/bin/service is not there");
  });
  it("may be a hard link, or behind links", async () => {
    const links: Made[] = [
      { path: "usr/bin/same", type: "1", target: "usr/bin/service" },
      { path: "usr/bin/link", type: "2", target: "../bin/same" },
    ];
    expect(await published(await image([[...base, service, ...links]], "/usr/bin/link"))).toMatchObject({
      outcome: "published",
    });
  });
  it("of another C library needs the loader of that, and nothing of this one", async () => {
    const muslLoader = "/lib/ld-musl-x86_64.so.1";
    const musl = exec("usr/bin/service", writeElf({ interpreter: muslLoader, needed: ["libc.so"] }));
    const { message } = await refusal(published(await image([[...base, musl]])));
    expect(message).toContain(`it needs ${muslLoader}`);
  });
  it("may be the root itself: systemd of one distribution with the libraries of another is seed 001's layout", async () => {
    const systemd = writeElf({ interpreter: loader, needed: ["libsystemd-shared-250.so", "libc.so.6"] });
    const layers = [
      [...base, directory("sbin"), { path: "sbin/init", type: "2", target: "/fedora/systemd" }],
      [directory("fedora"), exec("fedora/systemd", systemd)],
    ];
    const source = await image(layers, "/nothing");
    const { code, message } = await refusal(published(source, { more: ", service_type: hostfs" }));
    expect(code).toBe("program-unresolved");
    expect(message).toContain("it needs libsystemd-shared-250.so, which that root does not have");
  });
  it("is not looked for in what is only mounted, nor where a volume will be", async () => {
    const source = await image([without("libz")]);
    expect(await published(source, { more: ", service_type: fs-only" })).toMatchObject({
      outcome: "published",
    });
  });
  it("is not left unchecked for a service that there is not", async () => {
    const source = await image([[...base, service]]);
    expect((await refusal(published(source, { unchecked: ["wbe"] }))).code).toBe("usage");
  });
});

describe("what is to stay read-only in an image", () => {
  const keeps = (path: string) => `, security: {read_only_paths: [${path}]}`;
  it("has to be there, in some layer, and by the path where it really is", async () => {
    const upper = [directory("etc"), { path: "etc/web.conf", content: "" }];
    const source = await image([[...base, service], upper]);
    expect(await published(source, { more: keeps("/usr/lib, /etc/web.conf") })).toMatchObject({
      outcome: "published",
    });
    const misspelt = await refusal(published(source, { more: keeps("/etc/wbe.conf") }));
    expect(misspelt).toMatchObject({ code: "source-invalid" });
    expect(misspelt.message).toBe(
      "cannot keep /etc/wbe.conf of web read-only: in its root there is no /etc/wbe.conf",
    );
    const link = await refusal(published(source, { more: keeps("/usr/lib/libz.so") }));
    expect(link.message).toContain("/usr/lib/libz.so is a symlink");
  });
  it("is looked for in a directory also where the program is not", async () => {
    const root = await temporaryDirectory();
    await mkdir(join(root, "etc"));
    const more = (path: string) => `, image: {entrypoint: [/nothing]}${keeps(path)}`;
    const unchecked = ["web"];
    expect(await published(`rootfs:${root}`, { unchecked, more: more("/etc") })).toMatchObject({
      outcome: "published",
    });
    expect((await refusal(published(`rootfs:${root}`, { unchecked, more: more("/ect") }))).code).toBe(
      "source-invalid",
    );
  });
  it("is gone where an upper layer deletes it", async () => {
    const upper = [directory("etc"), { path: "etc/.wh.web.conf" }];
    const lower = [...base, service, directory("etc"), { path: "etc/web.conf", content: "" }];
    const { message } = await refusal(
      published(await image([lower, upper]), { more: keeps("/etc/web.conf") }),
    );
    expect(message).toContain("there is no /etc/web.conf");
  });
});
