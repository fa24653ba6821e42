// Records what a piece of work changes below a directory, as operations of disk.ts.
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join, relative } from "node:path";
import { liveNames, type Node, type Operation, type Recording } from "./disk.ts";
import { type Change, withProbe } from "./probe.ts";

/** The directory tree as it is while the recording goes on: what a path stands for at each moment. */
class LiveTree {
  readonly nodes: Map<number, Node>;
  readonly directories: Map<number, Map<string, number>>;
  readonly root: number;
  readonly path: string;

  constructor(path: string, begun?: Recording) {
    this.path = path;
    this.nodes = new Map(begun?.nodes);
    this.directories = new Map();
    const names = begun === undefined ? undefined : liveNames(begun);
    for (const [node, { kind }] of this.nodes) {
      if (kind === "directory") this.directories.set(node, new Map(names?.get(node)));
    }
    this.root = begun?.root ?? this.read(path);
  }

  add(node: Node): number {
    const number = this.nodes.size + 1;
    this.nodes.set(number, node);
    if (node.kind === "directory") this.directories.set(number, new Map());
    return number;
  }

  private read(path: string): number {
    const stat = lstatSync(path);
    const mode = stat.mode & 0o7777;
    if (stat.isSymbolicLink()) {
      return this.add({ kind: "symlink", content: Buffer.from(readlinkSync(path)), mode });
    }
    if (stat.isFile()) return this.add({ kind: "file", content: readFileSync(path), mode });
    if (!stat.isDirectory()) throw new Error(`cannot record what is below ${path}`);
    const directory = this.add({ kind: "directory", content: Buffer.alloc(0), mode });
    for (const name of readdirSync(path).sort()) {
      this.directories.get(directory)?.set(name, this.read(join(path, name)));
    }
    return directory;
  }

  /** The directory and the name of a path, or undefined for one that is not below the recorded directory. */
  locate(given: string): { directory: number; name: string; node: number | undefined } | undefined {
    const path = resolved(given);
    const parts = relative(this.path, path).split("/");
    const name = parts.pop();
    if (name === undefined || name === "" || name === ".." || parts[0] === "..") return undefined;
    let directory = this.root;
    for (const part of parts) {
      const next = this.directories.get(directory)?.get(part);
      if (next === undefined) throw new Error(`${path} was changed, and ${part} is not known`);
      directory = next;
    }
    const entries = this.directories.get(directory);
    if (entries === undefined) throw new Error(`${path} was changed, and its parent is no directory`);
    return { directory, name, node: entries.get(name) };
  }

  /** The node of a directory's path; undefined when it is not recorded. */
  directoryAt(given: string): number | undefined {
    const path = resolved(given);
    return path === this.path ? this.root : this.locate(path)?.node;
  }
}

/** Where an open directory is now, for a path that goes through its descriptor (src/system/beneath.ts). */
function resolved(path: string): string {
  const [, descriptor, rest] = /^(\/proc\/self\/fd\/[0-9]+)\/(.*)$/.exec(path) ?? [];
  return descriptor === undefined ? path : join(readlinkSync(descriptor), rest ?? "");
}

class Recorder {
  readonly operations: Operation[];
  private readonly tree: LiveTree;
  private readonly initial: Recording["names"];
  private readonly open = new Map<number, number>();
  /** How many operations there were when a sync began. */
  private readonly begun = new WeakMap<Change, number>();

  constructor(path: string, begun?: Recording) {
    this.tree = new LiveTree(path, begun);
    this.operations = [...(begun?.operations ?? [])];
    this.initial =
      begun?.names ?? new Map([...this.tree.directories].map(([node, names]) => [node, new Map(names)]));
  }

  recording(): Recording {
    const { nodes, root } = this.tree;
    return { nodes, names: this.initial, root, operations: this.operations };
  }

  private change(changes: readonly (readonly [path: string, to: number | undefined])[]): void {
    const located = changes.flatMap(([path, to]) => {
      const place = this.tree.locate(path);
      return place === undefined ? [] : [{ directory: place.directory, name: place.name, to }];
    });
    if (located.length === 0) return;
    if (located.length !== changes.length) throw new Error("a rename in or out of what is recorded");
    for (const { directory, name, to } of located) {
      const entries = this.tree.directories.get(directory);
      if (to === undefined) entries?.delete(name);
      else entries?.set(name, to);
    }
    this.operations.push({ kind: "names", changes: located });
  }

  private make(path: string, node: Node): void {
    if (this.tree.locate(path) !== undefined) this.change([[path, this.tree.add(node)]]);
  }

  before(change: Change): void {
    if (change.kind === "sync" || change.kind === "sync-directory") {
      this.begun.set(change, this.operations.length);
    }
  }

  after(change: Change): void {
    const content = Buffer.alloc(0);
    switch (change.kind) {
      case "open":
        this.opened(change);
        break;
      case "rename":
        this.change([
          [change.path, undefined],
          [change.to, this.tree.locate(change.path)?.node],
        ]);
        break;
      case "exchange":
        this.change([
          [change.path, this.tree.locate(change.to)?.node],
          [change.to, this.tree.locate(change.path)?.node],
        ]);
        break;
      case "unlink":
      case "rmdir":
        this.change([[change.path, undefined]]);
        break;
      case "mkdir":
        this.make(change.path, { kind: "directory", content, mode: change.mode });
        break;
      case "symlink":
        this.make(change.path, { kind: "symlink", content: Buffer.from(change.target), mode: 0o777 });
        break;
      case "sync-directory": {
        const directory = this.tree.directoryAt(change.path);
        const since = this.begun.get(change) ?? 0;
        if (directory !== undefined) this.operations.push({ kind: "sync-directory", directory, since });
        break;
      }
      case "chmod-directory":
      case "chown-directory":
        break;
      default: {
        const node = this.open.get(change.file);
        if (node !== undefined) this.inFile(node, change);
      }
    }
  }

  private opened({ path, file, mode }: Extract<Change, { kind: "open" }>): void {
    const place = this.tree.locate(path);
    if (place === undefined) return;
    if (place.node === undefined) this.make(path, { kind: "file", content: Buffer.alloc(0), mode });
    const node = this.tree.locate(path)?.node;
    if (node !== undefined) this.open.set(file, node);
  }

  private inFile(node: number, change: Change): void {
    if (change.kind === "write") {
      const { position, bytes } = change;
      this.operations.push({ kind: "write", node, position, bytes });
    } else if (change.kind === "truncate") {
      this.operations.push({ kind: "truncate", node, length: change.length });
    } else if (change.kind === "chmod") {
      this.operations.push({ kind: "chmod", node, mode: change.mode });
    } else if (change.kind === "sync") {
      this.operations.push({ kind: "sync", node, since: this.begun.get(change) ?? 0 });
    }
  }
}

/**
 * @param path of the directory below which changes are recorded
 * @param begun a recording that is continued: the directory is as a process left it that was killed then
 */
export async function record(
  path: string,
  work: () => Promise<unknown>,
  begun?: Recording,
): Promise<Recording> {
  const recorder = new Recorder(path, begun);
  await withProbe(
    { before: (change) => recorder.before(change), after: (change) => recorder.after(change) },
    work,
  );
  return recorder.recording();
}
