// The memory of a device without a TPM: it holds against a registry, not against somebody with the disk.
import * as z from "zod";
import { writeFileAtomic } from "../system/atomic-file.ts";
import { parseStateDocument } from "../system/state-document.ts";
import type { TrustMemory } from "./memory.ts";
import { readTrusted } from "./trusted-file.ts";

const schema = z.strictObject({ version: z.literal(1), epoch: z.int().min(0) });

/** @param path of the file with the epoch, which need not be there */
export function fileMemory(path: string): TrustMemory {
  const epoch = async (): Promise<number> => {
    const file = await readTrusted(path, 4096, "state-invalid");
    if (file === undefined) return 0;
    return parseStateDocument(file.bytes, path, schema).epoch;
  };
  return {
    source: `the file ${path}`,
    kind: "file",
    read: async () => ({ epoch: await epoch(), record: undefined }),
    raiseEpoch: async (to) => {
      if (to > (await epoch()))
        await writeFileAtomic(path, `${JSON.stringify({ version: 1, epoch: to })}\n`, 0o600);
    },
    extendRecord: async () => undefined,
  };
}
