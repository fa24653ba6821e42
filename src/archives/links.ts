// Where a link of a set or an archive leads: to something that is listed, through what is listed, or it is refused. Pure.
interface Listed {
  readonly type: "directory" | "file" | "symlink";
  readonly target?: string;
}

/** As the kernel has it (MAXSYMLINKS). */
const maxLinks = 40;

/** Whether a link leads to an entry of its tree, every link on the way too. An absolute target leads out. */
export function linkLeadsInside(path: string, entries: ReadonlyMap<string, Listed>): boolean {
  let links = 0;
  // Where the walk is, and the names that it still has to go.
  let at: string[] = [];
  const names = path.split("/");
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    if (name === "" || name === ".") continue;
    if (name === "..") {
      if (at.pop() === undefined) return false;
      continue;
    }
    const entry = entries.get([...at, name].join("/"));
    if (entry === undefined || (entry.type === "file" && names.length > 0)) return false;
    if (entry.type !== "symlink") {
      at = [...at, name];
      continue;
    }
    const { target = "/" } = entry;
    if (target.startsWith("/") || ++links > maxLinks) return false;
    names.unshift(...target.split("/"));
  }
  return at.length > 0;
}
