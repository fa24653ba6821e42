// The services of examples/ as one manifest for a device under test: the same fields, with stand-ins for images that are
// in other people's registries, and without the secrets, for which a TPM would be needed.
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { digestOf } from "../../src/oci/digest.ts";
import { run } from "../../src/system/process.ts";
import { busyboxRoot, muslRoot, sshdRoot } from "../../tools/roots.ts";
import { checkout } from "../../tools/stamp.ts";

interface Target {
  [field: string]: unknown;
  service_name: string;
}

interface Example {
  storage?: { size: string }[];
  targets: Target[];
}

async function readExample(name: string): Promise<Example> {
  return parse(await readFile(join(checkout, "examples", name, "manifest.yaml"), "utf8")) as Example;
}

interface StandIn {
  /** Programs and files, by their path. */
  readonly files: Readonly<Record<string, string>>;
  readonly entrypoint: string;
  /** Files of the first layer. */
  readonly below?: Readonly<Record<string, string>>;
  readonly config?: readonly string[];
}

async function writeFiles(root: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(join(root, path, ".."), { recursive: true });
    await writeFile(join(root, path), content, { mode: 0o755 });
  }
}

/** An image of plain tar layers, as builders of containers make them; the second layer deletes a file of the first. */
export async function tarImage(
  directory: string,
  name: string,
  { files, entrypoint, below = {}, config = [] }: StandIn,
): Promise<string> {
  const layout = join(directory, "images");
  const image = `${layout}:${name}`;
  const bundle = join(directory, `bundle-${name}`);
  const root = join(bundle, "rootfs");
  await run("umoci", ["init", "--layout", layout], { accept: [0, 1] });
  await run("umoci", ["new", "--image", image]);
  await run("umoci", ["config", "--image", image, "--config.entrypoint", entrypoint, ...config]);
  await run("umoci", ["unpack", "--image", image, bundle]);
  await cp(await busyboxRoot(), root, { recursive: true, verbatimSymlinks: true });
  await writeFile(join(root, "etc/deleted"), "it was in the layer below\n");
  await writeFiles(root, below);
  await run("umoci", ["repack", "--refresh-bundle", "--image", image, bundle]);
  await run("rm", [join(root, "etc/deleted")]);
  await writeFiles(root, files);
  await run("umoci", ["repack", "--image", image, bundle]);
  return `oci:${image}`;
}

/**
 * Gives an image of {@link tarImage} a health check of its own, as Docker and podman write it; umoci has no option for that.
 * @param check as in the image's configuration; times in nanoseconds
 */
export async function addHealthcheck(image: string, check: object): Promise<void> {
  const [, layout = "", name] = image.split(":");
  const blob = (digest: string) => join(layout, "blobs", digest.replace(":", "/"));
  const store = async (document: object) => {
    const bytes = JSON.stringify(document);
    const digest = digestOf(bytes);
    await writeFile(blob(digest), bytes);
    return { digest, size: Buffer.byteLength(bytes) };
  };
  const index = JSON.parse(await readFile(join(layout, "index.json"), "utf8"));
  const entry = index.manifests.find(
    ({ annotations }: { annotations?: Record<string, string> }) =>
      annotations?.["org.opencontainers.image.ref.name"] === name,
  );
  const manifest = JSON.parse(await readFile(blob(entry.digest), "utf8"));
  const config = JSON.parse(await readFile(blob(manifest.config.digest), "utf8"));
  config.config.Healthcheck = check;
  Object.assign(manifest.config, await store(config));
  Object.assign(entry, await store(manifest));
  await writeFile(join(layout, "index.json"), JSON.stringify(index));
}

/** A server that ends when it is told to; a shell has to say that itself. */
const serve = (port: number) => `exec /bin/serve ${port}`;

/**
 * Writes what the sources name into a directory, and returns the manifest of all examples but the job, and of a service
 * with another C library.
 */
export async function exampleServices(directory: string): Promise<string> {
  const [sshd, registry, web] = [
    await readExample("sshd"),
    await readExample("registry"),
    await readExample("web"),
  ];
  const root = join(directory, "sshd");
  await run("cp", ["--archive", await sshdRoot(), root]);
  await mkdir(join(root, "run/host/credentials"), { recursive: true });
  const key = join(root, "run/host/credentials/host_key");
  await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key]);
  const sources: Readonly<Record<string, string>> = {
    sshd: `rootfs:${root}`,
    registry: await tarImage(directory, "zot", {
      files: {
        "usr/bin/zot": `#!/bin/sh\ntest -r /etc/zot/config.json && touch /var/lib/registry/here && ${serve(5000)}\n`,
        "www/v2/index.html": "{}\n",
      },
      entrypoint: "/usr/bin/zot",
    }),
    db: await tarImage(directory, "postgres", {
      files: {
        "usr/bin/docker-entrypoint.sh": `#!/bin/sh\nmkdir -p "$PGDATA" && ${serve(5432)}\n`,
        "usr/bin/pg_isready": "#!/bin/sh\nexec /bin/busybox wget -qO /dev/null http://127.0.0.1:5432/\n",
        "www/index.html": "database\n",
      },
      entrypoint: "/usr/bin/docker-entrypoint.sh",
    }),
    web: await tarImage(directory, "web", {
      files: {
        "usr/bin/web": `#!/bin/sh
case "$1" in
migrate) exec /bin/busybox wget -qO /dev/null http://db:5432/ ;;
drain) exit 0 ;;
*) /bin/busybox wget -qO- http://db:5432/ > /dev/null && ${serve(8443)} ;;
esac
`,
        "www/index.html": "web\n",
      },
      entrypoint: "/usr/bin/web",
    }),
  };
  const targets = [...sshd.targets, ...registry.targets, ...web.targets].map(({ secrets: _, ...target }) => ({
    ...target,
    source: sources[target.service_name] ?? sources["web"],
  }));
  const musl = {
    ...{
      service_name: "musl",
      source: `rootfs:${await muslRoot()}`,
      version: "1",
      nsgroup: "musl",
    },
    ...{ image: { entrypoint: ["/bin/service"] }, network: { type: "none" } },
  };
  // The device under test has a small disk.
  const storage = [...(registry.storage ?? []), ...(web.storage ?? [])].map((volume) => ({
    ...volume,
    size: "64M",
  }));
  return stringify({
    version: 1,
    product: "test",
    health: { timeout: "10m" },
    storage,
    targets: [...targets, musl],
  });
}

/** The job of the examples, with another program and a deadline that a test can wait for. */
export async function exampleJob(root: string, script: string, deadline: string): Promise<string> {
  const { targets, storage } = await readExample("job");
  const [job] = targets;
  const run = { ...(job?.["run"] as object), deadline };
  const image = { entrypoint: ["/bin/busybox", "sh", "-c", script], working_dir: "/work" };
  return stringify({
    version: 1,
    product: "test",
    storage,
    targets: [{ ...job, source: `rootfs:${root}`, image, run }],
  });
}
