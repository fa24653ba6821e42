// What is wrong with a field of a manifest, for rules over several fields.

export interface Problem {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** Reports each item whose key was seen before, at the later one. */
export function duplicates<T>(
  items: Iterable<{ key: T; path: readonly (string | number)[]; owner: string }>,
  say: (key: T, first: string) => string,
): Problem[] {
  const seen = new Map<T, string>();
  const problems: Problem[] = [];
  for (const { key, path, owner } of items) {
    const first = seen.get(key);
    if (first === undefined) seen.set(key, owner);
    else problems.push({ path, message: say(key, first) });
  }
  return problems;
}
