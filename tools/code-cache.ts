// V8's code cache inside the executable saves what compiling the bundle costs at each start: 90 ms become 53, next
// to 41 of Node alone. It comes out differently at each build unless V8's hash seed is fixed, and with a fixed
// seed V8 refuses it later: it stores a hash of the flags it ran with. The seed has no part in what is cached (V8
// hashes strings anew when it reads a cache, since every process has a seed of its own), so we fix it and then
// write the flag hash of a process without it. Should V8 refuse the cache all the same, it compiles as ever.
import { open } from "node:fs/promises";
import { run } from "../src/system/process.ts";

/** V8's flags while a cache is made. */
export const cacheFlags = ["--hash-seed=1", "--random-seed=1"] as const;

/** Prints the cache of the empty script; only its header matters. */
const printCache =
  'process.stdout.write(new (require("node:vm").Script)("").createCachedData().toString("hex"))';

// V8's SerializedCodeData (src/snapshot/code-serializer.h): words of 32 bits. 0 magic number, 1 hash of the V8
// version, 2 hash of the source, 3 hash of the flags.
const versionBytes = 8;
const flagHashAt = 12;

/**
 * Makes the code cache in an executable one that V8 accepts when it runs without {@link cacheFlags}.
 * @throws Error when there is not exactly one cache in it
 */
export async function acceptCodeCache(executable: string, node: string): Promise<void> {
  const header = async (flags: readonly string[]): Promise<Buffer> =>
    Buffer.from((await run(node, [...flags, "-e", printCache])).stdout, "hex");
  const ours = await header(cacheFlags);
  const usual = await header([]);
  const flagHash = (from: Buffer): Buffer => from.subarray(flagHashAt, flagHashAt + 4);
  const handle = await open(executable, "r+");
  try {
    const bytes = await handle.readFile();
    const places = [];
    const version = ours.subarray(0, versionBytes);
    for (let at = bytes.indexOf(version); at >= 0; at = bytes.indexOf(version, at + 1)) {
      if (flagHash(bytes.subarray(at)).equals(flagHash(ours))) places.push(at);
    }
    const [place] = places;
    if (place === undefined || places.length > 1)
      throw new Error(`${executable} has ${places.length} code caches, not one`);
    await handle.write(flagHash(usual), 0, 4, place + flagHashAt);
  } finally {
    await handle.close();
  }
}
