// The variables of an OVMF firmware (a file of flash memory) with the keys of a keyset in them. Debian's
// virt-fw-vars edits the file; what it made is read back and compared before it appears.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as z from "zod";
import { MosError } from "../errors/mos-error.ts";
import { parseJson } from "../system/json.ts";
import { run } from "../system/process.ts";
import { readImageFile, writeOutput } from "./image-file.ts";
import { directDb, type FirmwareKeys } from "./keyset-firmware.ts";
import { certificateLists, ovmfDbx } from "./pcr7.ts";
import { type VariableId, variables } from "./variable.ts";

const program = "virt-fw-vars";

/** What `virt-fw-vars --output-json` says, as far as it is looked at. */
const storeSchema = z.object({
  variables: z
    .array(
      z.object({
        name: z.string(),
        guid: z.string(),
        attr: z.number(),
        data: z.string().regex(/^([0-9a-f]{2})*$/),
      }),
    )
    .max(1000),
});

async function checkStore(
  path: string,
  work: string,
  expected: readonly (readonly [VariableId, Uint8Array])[],
): Promise<void> {
  const jsonPath = join(work, "variables.json");
  await run(program, ["--input", path, "--output-json", jsonPath]);
  const { data: store } = storeSchema.safeParse(parseJson(await readFile(jsonPath), jsonPath));
  for (const [id, data] of expected) {
    const variable = store?.variables.find(({ name, guid }) => name === id.name && guid === id.guid);
    const isRight = variable?.attr === id.attributes && variable.data === Buffer.from(data).toString("hex");
    if (!isRight) {
      throw new MosError(
        "program-failed",
        `cannot use what ${program} made: its ${id.name} is not what it was told to write`,
        {
          about: program,
        },
      );
    }
  }
}

interface VariablesInput {
  readonly keys: FirmwareKeys;
  /** Whether devices find the manifest CA in db. */
  readonly withManifestCa: boolean;
  /** An OVMF_VARS file without keys. */
  readonly input: string;
  readonly output: string;
}

/**
 * Makes a variable store with PK, KEK and db of a keyset, and Secure Boot switched on.
 * @returns whether the output was written; false when it was there already and the same
 * @throws MosError `file-unreadable`, `program-missing`, `program-failed`, `output-exists`
 */
export async function makeVariables({
  keys,
  withManifestCa,
  input,
  output,
}: VariablesInput): Promise<boolean> {
  const db = directDb(keys, withManifestCa);
  const before = await readImageFile(input);
  const work = await mkdtemp(join(tmpdir(), "mos-efivars-"));
  try {
    const [empty, made] = [join(work, "empty.fd"), join(work, "variables.fd")];
    await writeFile(empty, before);
    await run(program, [
      ...["--input", empty, "--output", made, "--no-microsoft", "--sb"],
      ...["--set-pk", keys.pk.owner, keys.pk.path],
      ...["--add-kek", keys.kek.owner, keys.kek.path],
      ...db.flatMap(({ owner, path }) => ["--add-db", owner, path]),
    ]);
    await checkStore(made, work, [
      [variables.pk, certificateLists([keys.pk])],
      [variables.kek, certificateLists([keys.kek])],
      [variables.db, certificateLists(db)],
      [variables.dbx, ovmfDbx],
    ]);
    return await writeOutput(output, await readFile(made));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
