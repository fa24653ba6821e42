// The keys of PCR signatures from files, as the command line names them: private keys, maybe their public halves,
// maybe the phases that each of them signs.
import { createPublicKey, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { readSigningKey } from "../trust/signature.ts";
import type { PcrSigner } from "./pcr-signature.ts";

/** Only in the initrd: what it opens is closed again before the system starts. */
const initrdOnly = ["enter-initrd"];
const phasePattern = /^[a-z]+(-[a-z]+)*(:[a-z]+(-[a-z]+)*)*$/;

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new MosError("file-unreadable", `cannot read ${path}: ${systemCode(error) ?? "unknown"}`, {
      about: path,
      cause: error,
    });
  }
}

async function readPublicKey(path: string): Promise<KeyObject> {
  const pem = await readText(path);
  try {
    return createPublicKey(pem);
  } catch (error) {
    throw new MosError("key-invalid", "cannot read a public key: its PEM is damaged", {
      about: path,
      cause: error,
    });
  }
}

/** `a,a:b` → the phase paths; absent: {@link initrdOnly}. */
function parsePhases(text: string | undefined): readonly string[] {
  const phases = text === undefined ? initrdOnly : text.split(",");
  const odd = phases.find((phase) => !phasePattern.test(phase));
  if (odd === undefined) return phases;
  throw new MosError("usage", "cannot read a phase: write words with colons between them", {
    about: odd,
    hint: "For example: --phases enter-initrd,enter-initrd:leave-initrd",
  });
}

interface PcrKeyPaths {
  readonly privateKeys: readonly string[];
  /** None, or as many as private keys. */
  readonly publicKeys: readonly string[];
  /** None, or as many as private keys; each a list with commas. */
  readonly phases: readonly string[];
}

/**
 * Reads the keys.
 * @throws MosError `usage`, `file-unreadable`, `key-invalid`
 */
export async function readPcrSigners({
  privateKeys,
  publicKeys,
  phases,
}: PcrKeyPaths): Promise<readonly PcrSigner[]> {
  for (const [what, given] of [
    ["--pcr-public-key", publicKeys],
    ["--phases", phases],
  ] as const) {
    if (given.length !== 0 && given.length !== privateKeys.length) {
      throw new MosError(
        "usage",
        `cannot pair PCR keys: give ${what} once for each --pcr-private-key, or never`,
      );
    }
  }
  return await Promise.all(
    privateKeys.map(async (path, index) => {
      const key = readSigningKey(await readText(path), path);
      if (key.asymmetricKeyType !== "rsa") {
        throw new MosError("key-invalid", "cannot sign PCRs with a key that is not RSA", { about: path });
      }
      const publicKey = createPublicKey(key);
      const publicPath = publicKeys[index];
      if (publicPath !== undefined && !publicKey.equals(await readPublicKey(publicPath))) {
        throw new MosError("key-invalid", "cannot use a public key that does not belong to its private key", {
          about: publicPath,
        });
      }
      return { key, publicKey, phases: parsePhases(phases[index]) };
    }),
  );
}
