// One executable, many names: which of them was it called by, and what are its words? Pure.

/** The name, and the words after it. */
export interface Call<Name extends string> {
  readonly name: Name | undefined;
  readonly args: readonly string[];
}

/**
 * Reads `process.argv`. In a single executable argv[1] is the name that the caller typed (Node puts its own path
 * in argv[0]); under `node src/main.ts` it is the script. So: a known name in argv[1], or else the first word.
 * @param names every name but that of the executable itself
 */
export function calledAs<Name extends string>(argv: readonly string[], names: readonly Name[]): Call<Name> {
  const known = (word: string | undefined): Name | undefined => names.find((name) => name === word);
  const [, called = "", ...words] = argv;
  const own = known(called.slice(called.lastIndexOf("/") + 1));
  if (own !== undefined) return { name: own, args: words };
  const [first, ...rest] = words;
  const chosen = known(first);
  return chosen === undefined ? { name: undefined, args: words } : { name: chosen, args: rest };
}
