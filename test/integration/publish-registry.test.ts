// What a registry has after publishing: all of it, once, or what it had before. The registry is Debian's, with one
// in front of it that refuses what the test says.
import { cp, readFile, rm, utimes, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asMosError } from "../../src/errors/mos-error.ts";
import { hexOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/model.ts";
import { openRepositories, openWritable } from "../../src/oci/open.ts";
import { parseDestination, parseReference } from "../../src/oci/reference.ts";
import type { Published } from "../../src/publish/publish.ts";
import { run } from "../../src/system/process.ts";
import type { Project } from "../../src/trust/keyset.ts";
import { temporaryDirectory } from "../support.ts";
import { type Issued, make, rsa } from "../unit/trust/authority.ts";
import {
  layoutDestination,
  makeRoot,
  packedTarget,
  projectOf,
  publishTarget,
  refusingProxy,
  registryContent,
  registryDestination,
} from "./publish-fixture.ts";
import { startRegistry } from "./registry-fixture.ts";

let registry: Awaited<ReturnType<typeof startRegistry>>;
let signers: Record<"ec" | "rsa", Issued>;
let project: Project;
beforeAll(async () => {
  registry = await startRegistry();
  const ca = await make({ ca: true });
  signers = { ec: await make({ issuer: ca }), rsa: await make({ issuer: ca, key: rsa(2048) }) };
  project = projectOf(signers.ec);
});
afterAll(() => registry.stop());

/** A directory with `root`, whose program has the given text. */
async function rootOf(text: string): Promise<string> {
  const directory = await temporaryDirectory();
  await makeRoot(join(directory, "root"), text);
  return directory;
}

function send(
  directory: string,
  name: string,
  more: { repo?: string; target?: string; project?: Project } = {},
) {
  const { repo = registry.authority, ...rest } = more;
  const destination = registryDestination(repo, name);
  return publishTarget({ project, directory, target: packedTarget, destination, ...rest });
}

async function failure(published: Promise<Published>): Promise<{ code: string; exitCode: number }> {
  const { code, exitCode } = asMosError(
    await published.then(
      () => new Error("it was published"),
      (error: unknown) => error,
    ),
  );
  return { code, exitCode };
}

const digestOfTag = async (name: string) =>
  (await openRepositories(parseReference(`${registry.authority}/${name}`)).install.manifest("1")).digest;

describe("publishing the same again", () => {
  test.each(["ec", "rsa"] as const)("leaves the registry as it was, with a key of type %s", async (type) => {
    const name = `machine/again-${type}:1`;
    const signer = { project: projectOf(signers[type]) };
    const directory = await rootOf("one");
    const first = await send(directory, name, signer);
    const before = await registryContent(registry.authority);
    const elsewhere = await temporaryDirectory();
    await cp(join(directory, "root"), join(elsewhere, "root"), { recursive: true });
    await utimes(join(elsewhere, "root/bin/service"), 1e9, 1e9);
    expect(await send(elsewhere, name, signer)).toEqual({ ...first, outcome: "unchanged", sentBytes: 0 });
    expect(await registryContent(registry.authority)).toEqual(before);
  });

  test("by another project of the same CA is published", async () => {
    const directory = await rootOf("one");
    await send(directory, "machine/handed-over:1");
    const next = await send(directory, "machine/handed-over:1", { project: projectOf(signers.rsa) });
    expect(next).toMatchObject({ outcome: "published", sentBytes: 0 });
  });

  test("is published when the signature is gone", async () => {
    const directory = await rootOf("one");
    const repo = `oci-${directory.length}`;
    const { artifactDigest } = await send(directory, `machine/${repo}:1`);
    const { install } = openWritable(parseDestination(registry.authority, `machine/${repo}:1`));
    // The fallback tag is where this registry's list of referrers is.
    const empty = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] }),
    );
    await install.putManifest(empty, mediaTypes.index, artifactDigest.replace(":", "-"));
    expect((await send(directory, `machine/${repo}:1`)).outcome).toBe("published");
  });
});

describe("a push that fails", () => {
  const isManifest = ({ method, url }: IncomingMessage) =>
    method === "PUT" && /\/manifests\//.test(url ?? "");

  test("leaves the tag as it was, whichever part is refused", async () => {
    const name = "machine/refused:1";
    await send(await rootOf("old"), name);
    const before = await digestOfTag("machine/refused:1");
    const directory = await rootOf("new");
    let codes: readonly string[] = [];
    for (let refused = 1; codes.at(-1) !== "published"; refused++) {
      let seen = 0;
      const repo = await refusingProxy(registry.authority, (incoming) =>
        isManifest(incoming) && ++seen === refused ? 500 : undefined,
      );
      const published = send(directory, name, { repo });
      const isThrough = await published.then(
        () => true,
        () => false,
      );
      if (isThrough) codes = [...codes, "published"];
      else {
        expect(await failure(published)).toEqual({ code: "push-failed", exitCode: 5 });
        expect(await digestOfTag("machine/refused:1")).toBe(before);
        codes = [...codes, "push-failed"];
      }
      expect(refused).toBeLessThan(20);
    }
    expect(await digestOfTag("machine/refused:1")).not.toBe(before);
    // The image, the manifest, its certificate and signature each with a list of referrers, and the tag.
    expect(codes.length).toBeGreaterThanOrEqual(6);
  });

  test.each([
    [
      "a blob is refused",
      ({ method }: IncomingMessage) => (method === "PUT" ? 500 : undefined),
      "push-failed",
    ],
    [
      "uploads are not permitted",
      ({ method }: IncomingMessage) => (method === "POST" ? 403 : undefined),
      "push-failed",
    ],
    [
      "nothing can be looked for",
      ({ method }: IncomingMessage) => (method === "HEAD" ? 500 : undefined),
      "push-failed",
    ],
  ])("where %s has no tag in the end", async (what, refuse, code) => {
    const repo = await refusingProxy(registry.authority, refuse);
    const path = `machine/${what.replaceAll(" ", "-")}`;
    expect(await failure(send(await rootOf(what), `${path}:1`, { repo }))).toEqual({ code, exitCode: 5 });
    const { install } = openRepositories(parseReference(`${registry.authority}/${path}:1`));
    await expect(install.manifest("1")).rejects.toMatchObject({ code: "not-found" });
  });

  test("because the registry went away", async () => {
    const other = await startRegistry();
    await other.stop();
    const published = send(await rootOf("x"), "machine/gone:1", { repo: other.authority });
    expect(await failure(published)).toEqual({ code: "registry-unreachable", exitCode: 5 });
  });
});

describe("images", () => {
  test("are found by their digest, whatever their tag stood for before", async () => {
    const directory = await rootOf("squatted");
    const destination = layoutDestination(join(directory, "layout"));
    const { targets } = await publishTarget({ project, directory, target: packedTarget, destination });
    const [first] = targets.map(({ digest }) => digest);
    if (first === undefined) throw new Error("no target");
    const hex = hexOf(first);
    // Somebody was there first with that tag: another manifest.
    const { images } = openWritable(parseDestination(registry.authority, "mos:x"));
    const empty = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] }),
    );
    await images.putManifest(empty, mediaTypes.index, hex);
    await send(directory, "machine/squatted:1");
    expect((await images.manifest(first)).digest).toBe(first);
    expect((await images.manifest(hex)).digest).toBe(first);
  });

  test("of another registry keep their digest", async () => {
    const other = await startRegistry();
    try {
      const directory = await rootOf("moved");
      const { targets } = await send(directory, "machine/from:1", { repo: other.authority });
      const hex = targets[0]?.digest.slice(7) ?? "";
      const target = `source: "docker://${other.authority}/mos:${hex}"`;
      expect((await send(directory, "machine/moved:1", { target })).targets).toEqual(targets);
    } finally {
      await other.stop();
    }
  });

  /** An image of one tar layer, made by umoci and pushed by skopeo. */
  async function tarImage(directory: string, format: "oci" | "v2s2", ...config: string[]): Promise<string> {
    const image = `${join(directory, "tar")}:x`;
    await run("umoci", ["init", "--layout", join(directory, "tar")]);
    await run("umoci", ["new", "--image", image]);
    await run("umoci", ["insert", "--image", image, join(directory, "root"), "/"]);
    if (config.length > 0) await run("umoci", ["config", "--image", image, ...config]);
    const name = `${registry.authority}/plain/${directory.slice(-6).toLowerCase()}:x`;
    const how = ["--quiet", "--dest-tls-verify=false", "--format", format];
    await run("skopeo", ["copy", ...how, `oci:${image}`, `docker://${name}`]);
    return name;
  }

  test("with a tar layer are converted, into what the same root becomes each time", async () => {
    const directory = await rootOf("tar");
    const name = await tarImage(directory, "oci", "--config.entrypoint", "/bin/service");
    const target = `source: "docker://${name}"`;
    const { targets } = await send(directory, "machine/tar:1", { target });
    const again = await send(directory, "machine/tar:2", { target });
    expect(again.targets).toEqual(targets);
    expect(again.sentBytes).toBe(0);
  });

  test("in Docker's own format become what the same image in OCI's does", async () => {
    const directory = await rootOf("docker");
    const name = await tarImage(directory, "v2s2", "--config.entrypoint", "/bin/service");
    const raw = await run("skopeo", ["inspect", "--raw", "--tls-verify=false", `docker://${name}`]);
    expect(raw.stdout).toContain("application/vnd.docker.distribution.manifest.v2+json");
    const { targets } = await send(directory, "machine/docker:1", { target: `source: "docker://${name}"` });
    const same = `source: "oci:${join(directory, "tar")}:x"`;
    expect((await send(directory, "machine/docker:2", { target: same })).targets[0]?.digest).toBe(
      targets[0]?.digest,
    );
  });

  test("that are not there", async () => {
    const directory = await rootOf("none");
    for (const source of [`docker://${registry.authority}/no/image:x`, `oci:${directory}/nowhere:x`]) {
      const published = send(directory, "machine/none:1", { target: `source: "${source}"` });
      expect(await failure(published)).toEqual({ code: "not-found", exitCode: 5 });
    }
  });

  test.each([
    ["of a root", 'source: "rootfs:root"'],
    ["of a root, with an empty command", 'source: "rootfs:root", image: {env: [A=1]}'],
  ])("%s that say nothing to run are refused for a container", async (_, target) => {
    const published = send(await rootOf("idle"), "machine/idle:1", { target });
    expect(await failure(published)).toEqual({ code: "source-invalid", exitCode: 3 });
  });

  test("of others that say nothing to run are refused for a container, and taken as files", async () => {
    const directory = await rootOf("idle");
    const files = 'source: "rootfs:root", service_type: fs-only';
    const { targets } = await send(directory, "machine/files:1", { target: files });
    const source = `source: "docker://${registry.authority}/mos:${targets[0]?.digest.slice(7)}"`;
    expect(await failure(send(directory, "machine/idle:1", { target: source }))).toEqual({
      ...{ code: "source-invalid", exitCode: 3 },
    });
    expect(
      (await send(directory, "machine/files-2:1", { target: `${source}, service_type: fs-only` })).targets,
    ).toEqual(targets);
  });

  test("with pins that hold and pins that do not", async () => {
    const directory = await rootOf("pinned");
    const { targets } = await send(directory, "machine/pinned:1");
    const digest = targets[0]?.digest ?? "";
    expect(
      await send(directory, "machine/pinned:1", { target: `${packedTarget}, digest: "${digest}"` }),
    ).toMatchObject({
      outcome: "unchanged",
    });
    await writeFile(join(directory, "root/bin/service"), "changed");
    expect(
      await failure(send(directory, "machine/pinned:1", { target: `${packedTarget}, digest: "${digest}"` })),
    ).toEqual({
      ...{ code: "digest-mismatch", exitCode: 4 },
    });
    expect(
      await failure(send(directory, "machine/pinned:1", { target: `${packedTarget}, size: 7` })),
    ).toEqual({
      ...{ code: "size-mismatch", exitCode: 4 },
    });
  });
});

test("a layout that has lost its install.json gets it again", async () => {
  const directory = await rootOf("lost");
  const layout = join(directory, "layout");
  const destination = layoutDestination(layout);
  const send = () => publishTarget({ project, directory, target: packedTarget, destination });
  const { manifestDigest } = await send();
  const path = join(layout, "blobs/sha256", manifestDigest.slice(7));
  const content = await readFile(path);
  await rm(path);
  expect((await send()).outcome).toBe("published");
  expect(content.equals(await readFile(path))).toBe(true);
  expect((await send()).outcome).toBe("unchanged");
});
