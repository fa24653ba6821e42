// Where the images of apps are: podman's storage, each under one name that says which it is, so that it is known whose it
// is and podman image prune does not take it.
import { MosError } from "../errors/mos-error.ts";
import { run } from "../system/process.ts";

/** What podman is asked. */
export interface ImageStore {
  /** Ids of the images of apps that are there, whole. */
  readonly list: () => Promise<readonly string[]>;
  /** Takes one from an OCI image layout, in which it has the name of {@link imageName}. */
  readonly load: (layout: string, id: string) => Promise<void>;
  /** Forgets ids; podman deletes an image that has no other name and that no container uses. */
  readonly remove: (ids: readonly string[]) => Promise<void>;
  /** Makes what was loaded outlive a power cut. */
  readonly sync: () => Promise<void>;
}

const repository = "localhost/mos-app";

/** The name of an image of an app, in a layout and in podman's storage. @param id 64 hexadecimal digits */
export function imageName(id: string): string {
  return `${repository}:${id}`;
}

/** Of a large image on a slow disk. */
const loadTimeoutMs = 30 * 60_000;

async function idOf(name: string): Promise<string | undefined> {
  const { exitCode, stdout } = await run("podman", ["image", "inspect", "--format", "{{.Id}}", name], {
    accept: [0, 125],
  });
  return exitCode === 0 ? stdout.trim() : undefined;
}

/** The one of this system. */
export const podmanImages: ImageStore = {
  list: async () => {
    const filter = `reference=${repository}`;
    const { stdout } = await run("podman", [
      "images",
      "--no-trunc",
      "--filter",
      filter,
      "--format",
      "{{.Tag}} {{.Id}}",
    ]);
    return stdout.split("\n").flatMap((line) => {
      const [tag = "", id = ""] = line.split(" ");
      // A name that somebody gave to another image is none.
      return tag !== "" && id.endsWith(tag) ? [tag] : [];
    });
  },
  load: async (layout, id) => {
    const name = imageName(id);
    await run("podman", ["pull", "--quiet", `oci:${layout}:${name}`], { timeoutMs: loadTimeoutMs });
    if ((await idOf(name)) === id) return;
    await run("podman", ["untag", name], { accept: [0, 1, 125] });
    throw new MosError("set-mixed", `cannot use the image ${id}: what podman made of it is another one`, {
      about: id,
    });
  },
  remove: async (ids) => {
    // One that a container still uses stays, and goes with what is done next.
    for (const id of ids) await run("podman", ["rmi", "--", imageName(id)], { accept: [0, 1, 2, 125] });
  },
  sync: async () => {
    const { stdout } = await run("podman", ["info", "--format", "{{.Store.GraphRoot}}"]);
    await run("sync", ["--file-system", stdout.trim()], { timeoutMs: loadTimeoutMs });
  },
};
