// PCR 11: which UKI was started, and how far it got (systemd-stub(7), systemd-measure(1)). The stub measures each
// section that it uses, its name with a NUL and then its content, in an order of its own; systemd-pcrphase then
// measures a word at each milestone.

import { type Bank, extendPcr, foldPcr, hashOf } from "../efi/bank.ts";
import { type PeImage, sectionContent } from "../efi/pe.ts";
import { MosError } from "../errors/mos-error.ts";

export const ukiPcr = 11;

// biome-ignore format: in the order of their measurement
/** The sections that systemd-stub measures; `.pcrsig` is left out, because it is the signature over the result. */
const measuredSections = [
  ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey",
] as const;

/** Sections with which there is no single value: which of them counts is decided at boot. */
const choosing = [".profile", ".dtbauto", ".hwids"];

/** The milestones of a boot, in their order. */
export const defaultPhases: readonly string[] = [
  "enter-initrd",
  "enter-initrd:leave-initrd",
  "enter-initrd:leave-initrd:sysinit",
  "enter-initrd:leave-initrd:sysinit:ready",
];

/**
 * PCR 11 when the kernel starts.
 * @throws MosError `efi-image-malformed` for an image whose value depends on more than itself: with several profiles
 * or device trees, or with a section twice
 */
export function pcr11AtStart(image: PeImage, bank: Bank): Uint8Array {
  const { about } = image;
  const chooses = image.sections.find(({ name }) => choosing.includes(name));
  if (chooses !== undefined) {
    const why = `its section ${chooses.name} lets the boot choose what is measured`;
    throw new MosError("efi-image-malformed", `cannot compute PCR 11 of this image: ${why}`, { about });
  }
  const digests = measuredSections.flatMap((name) => {
    const [section, ...more] = image.sections.filter((one) => one.name === name);
    if (section === undefined) return [];
    if (more.length > 0 || section.virtualSize > section.size) {
      const why = more.length > 0 ? "is there twice" : "is larger in memory than in the file";
      throw new MosError(
        "efi-image-malformed",
        `cannot compute PCR 11 of this image: its section ${name} ${why}`,
        {
          about,
        },
      );
    }
    const content = sectionContent(image, section);
    return [hashOf(bank, Buffer.from(`${name}\0`)), hashOf(bank, content)];
  });
  return foldPcr(bank, digests);
}

/**
 * PCR 11 at the end of a phase path.
 * @param path milestones with colons between them, as {@link defaultPhases}
 */
export function pcr11AtPhase(start: Uint8Array, bank: Bank, path: string): Uint8Array {
  return path.split(":").reduce((pcr, word) => extendPcr(bank, pcr, hashOf(bank, Buffer.from(word))), start);
}
