// Which images quadlets name, and naming them by what was verified. Pure.
import { MosError } from "../errors/mos-error.ts";

/** podman-systemd.unit(5): files with an `Image=`, and their drop-ins. */
const withImages = /\.(?:container|volume)(?:\.d\/[^/]+\.conf)?$/;
/** What fetches or builds images by itself: nobody has signed those. */
const fetching = /\.(?:kube|build|image)$/;
const imageLine = /^([ \t]*Image[ \t]*=[ \t]*)(.*?)([ \t]*)$/gm;

/**
 * A quadlet whose images are named by id.
 * @param ids id by the name that the quadlet has for an image
 * @throws MosError `app-invalid` for an image that is not of the app
 */
export function withImageIds(path: string, text: string, ids: ReadonlyMap<string, string>): string {
  if (fetching.test(path)) {
    throw new MosError(
      "app-invalid",
      `cannot make an app with ${path}: it brings images that are not signed`,
      {
        about: path,
      },
    );
  }
  if (!withImages.test(path)) return text;
  return text.replaceAll(imageLine, (line: string, start: string, name: string, end: string) => {
    const id = ids.get(name);
    // systemd.syntax(7): nothing resets the setting.
    if (name === "") return line;
    if (id !== undefined) return `${start}sha256:${id}${end}`;
    throw new MosError(
      "app-invalid",
      `cannot make an app with ${path}: its image ${name} is not along with it`,
      {
        about: path,
        hint: `--image ${name}=SOURCE says where it is taken from.`,
      },
    );
  });
}

/** Whether a file is one that {@link withImageIds} has something to say about. */
export function isQuadlet(path: string): boolean {
  return withImages.test(path) || fetching.test(path);
}
