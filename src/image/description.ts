// image.yaml, read and checked.
import { readFile } from "node:fs/promises";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { withSuggestions } from "../manifest/did-you-mean.ts";
import { problemsOf } from "../manifest/install-json.ts";
import { parseYaml } from "../manifest/yaml-document.ts";
import { type ImageDescription, imageDescriptionSchema } from "./description-schema.ts";

/**
 * Parses and checks the text of a description.
 * @param file names the text in errors
 * @throws MosError `image-description-invalid` with every problem as `FILE:LINE:COLUMN: field: message`
 */
export function parseImageDescription(text: string, file: string): ImageDescription {
  return parseYaml(text, file, "image-description-invalid", (plain) => {
    const result = imageDescriptionSchema.safeParse(plain);
    if (result.success) return { value: result.data };
    return { problems: withSuggestions(imageDescriptionSchema, problemsOf(result.error)) };
  });
}

/** @throws MosError `file-unreadable`, `image-description-invalid` */
export async function readImageDescription(file: string): Promise<ImageDescription> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new MosError("file-unreadable", `cannot read ${file}: ${asMosError(error).message}`, {
      about: file,
      cause: error,
    });
  }
  return parseImageDescription(text, file);
}
