// What a unified kernel image says of itself: the command line that was signed with it, and what it is called. Pure.
import { parsePe, sectionContent } from "../efi/pe.ts";
import { MosError } from "../errors/mos-error.ts";

export interface UkiFacts {
  readonly commandLine: string;
  /** IMAGE_ID and IMAGE_VERSION of its os-release. */
  readonly imageId: string;
  readonly imageVersion: string;
}

/** As file names of an EFI system partition can have it (src/image/description-schema.ts). */
const word = /^[A-Za-z0-9][A-Za-z0-9._~^-]{0,63}$/;

/**
 * @param about names the image in errors
 * @throws MosError `efi-image-malformed`: no EFI program, or none that says this
 */
export function ukiFacts(bytes: Uint8Array, about: string): UkiFacts {
  const image = parsePe(bytes, about);
  const textOf = (name: string): string => {
    const section = image.sections.find((one) => one.name === name);
    if (section === undefined)
      throw new MosError("efi-image-malformed", `cannot use this kernel image: it has no ${name}`, { about });
    return Buffer.from(sectionContent(image, section)).toString("utf8").replace(/\0+$/, "").trim();
  };
  const osRelease = textOf(".osrel");
  const field = (name: string): string => {
    const [, value] = new RegExp(`^${name}="?([^"\\n]*)"?$`, "m").exec(osRelease) ?? [];
    if (value !== undefined && word.test(value)) return value;
    throw new MosError("efi-image-malformed", `cannot use this kernel image: its os-release has no ${name}`, {
      about,
    });
  };
  return {
    commandLine: textOf(".cmdline"),
    imageId: field("IMAGE_ID"),
    imageVersion: field("IMAGE_VERSION"),
  };
}
