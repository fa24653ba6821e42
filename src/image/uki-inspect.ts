// What is in a unified kernel image, read by mos itself: sections, texts, who signed it and whether that holds, what
// PCR 11 will be, and whether its PCR signatures are for that. Pure.
import { authenticodeDigest, decodeAuthenticode, signaturesOf } from "../efi/authenticode.ts";
import { sha256 } from "../efi/measured.ts";
import { type PeImage, sectionContent } from "../efi/pe.ts";
import { signerOf } from "../efi/verify-image.ts";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { checkPcrSignatures, type PcrSignatureReport } from "./pcr-signature.ts";
import { defaultPhases, pcr11AtPhase, pcr11AtStart } from "./pcr11.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

interface SignatureReport {
  /** Whose it is; undefined when that cannot be told. Nothing is said about trust in him. */
  readonly subject?: string;
  readonly fingerprint?: string;
  /** Why it does not hold for this image; undefined when it does. */
  readonly problem?: string;
}

export interface UkiReport {
  readonly sections: readonly { readonly name: string; readonly size: number; readonly sha256: string }[];
  /** Authenticode SHA-256 digest, hex. */
  readonly digest: string;
  readonly signatures: readonly SignatureReport[];
  readonly commandLine?: string;
  readonly osRelease?: string;
  readonly uname?: string;
  /** PCR 11 in the SHA-256 bank at each phase, hex; or why there is no such value. */
  readonly pcr11:
    | readonly { readonly phase: string; readonly value: string }[]
    | { readonly problem: string };
  readonly pcrSignatures: readonly PcrSignatureReport[];
}

function contentOf(image: PeImage, name: string): Uint8Array | undefined {
  const section = image.sections.find((one) => one.name === name);
  return section === undefined ? undefined : sectionContent(image, section);
}

function textOf(image: PeImage, name: string): string | undefined {
  const content = contentOf(image, name);
  return content === undefined ? undefined : Buffer.from(content).toString("utf8").replace(/\0+$/, "");
}

function checkSignature(pkcs7: Uint8Array, digest: Uint8Array): SignatureReport {
  try {
    const { certificate } = signerOf(decodeAuthenticode(pkcs7), digest);
    return { subject: certificate.subject.text, fingerprint: certificate.fingerprint };
  } catch (error) {
    if (!(error instanceof MosError || error instanceof SyntaxError)) throw error;
    return { problem: asMosError(error).message };
  }
}

function pcr11Of(image: PeImage): UkiReport["pcr11"] {
  try {
    const start = pcr11AtStart(image, "sha256");
    return ["", ...defaultPhases].map((phase) => ({
      phase: phase === "" ? "start" : phase,
      value: hex(phase === "" ? start : pcr11AtPhase(start, "sha256", phase)),
    }));
  } catch (error) {
    if (!(error instanceof MosError)) throw error;
    return { problem: error.message };
  }
}

/**
 * Takes an image apart.
 * @throws MosError `efi-image-malformed` when it is no UKI or its certificates are damaged, `document-invalid` when
 * its PCR signatures cannot be read
 */
export function inspectUki(image: PeImage): UkiReport {
  if (contentOf(image, ".linux") === undefined) {
    throw new MosError("efi-image-malformed", "cannot find a kernel in this EFI program: it is no UKI", {
      about: image.about,
    });
  }
  const digest = authenticodeDigest(image);
  const texts = {
    commandLine: textOf(image, ".cmdline"),
    osRelease: textOf(image, ".osrel"),
    uname: textOf(image, ".uname"),
  };
  const pcrSignatures = contentOf(image, ".pcrsig");
  return {
    sections: image.sections.map((section) => {
      const content = sectionContent(image, section);
      return { name: section.name, size: content.length, sha256: hex(sha256(content)) };
    }),
    digest: hex(digest),
    signatures: signaturesOf(image).map((pkcs7) => checkSignature(pkcs7, digest)),
    ...Object.fromEntries(Object.entries(texts).filter(([, text]) => text !== undefined)),
    pcr11: pcr11Of(image),
    pcrSignatures:
      pcrSignatures === undefined
        ? []
        : checkPcrSignatures(image, pcrSignatures, contentOf(image, ".pcrpkey"), defaultPhases),
  };
}
