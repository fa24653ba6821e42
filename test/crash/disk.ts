// What a disk may hold after a power cut, worked out from a recording of system calls.
//
// The model is the weakest that a journalling file system of today (ext4 in any data mode, XFS, btrfs, f2fs) keeps to;
// most keep more. POSIX promises less still, and no program could be written for that.
// - A name (creation, rename, link, removal) is certain once a directory that it changed was fsynced afterwards. Before
//   that it may be there or not, each change of names by itself: so changes of different names come in any order.
//   Changes of one name keep theirs. The fsync of a file says nothing about its name.
// - A rename is atomic: both names change, or none, also from one directory to another.
// - A file's content, length and mode are certain once the file itself was fsynced afterwards, whatever its name. Before
//   that its new content may be all there, not at all, in part, or zeros of the right length; so may a file be that was
//   renamed over another.
// - What was on the disk when the recording began is certain. Neither a name nor a block changes that nobody changed.

/** A file, directory or symbolic link, whatever its names. */
export interface Node {
  readonly kind: "file" | "directory" | "symlink";
  /** As it was when the recording began, or when it was made. */
  readonly content: Buffer;
  readonly mode: number;
}

/** `to` undefined: the name goes. */
interface NameChange {
  readonly directory: number;
  readonly name: string;
  readonly to: number | undefined;
}

export type Operation =
  | { readonly kind: "names"; readonly changes: readonly NameChange[] }
  | { readonly kind: "write"; readonly node: number; readonly position: number; readonly bytes: Buffer }
  | { readonly kind: "truncate"; readonly node: number; readonly length: number }
  | { readonly kind: "chmod"; readonly node: number; readonly mode: number }
  /** `since`: how many operations were made when it began. What comes while it runs, it need not cover. */
  | { readonly kind: "sync"; readonly node: number; readonly since: number }
  | { readonly kind: "sync-directory"; readonly directory: number; readonly since: number };

export type Names = ReadonlyMap<number, ReadonlyMap<string, number>>;

export interface Recording {
  readonly nodes: ReadonlyMap<number, Node>;
  /** The directories when it began. */
  readonly names: Names;
  readonly root: number;
  readonly operations: readonly Operation[];
}

/** How the unsynced content of a file came out. */
export const dataFates = ["new", "old", "zeros", "part", "empty"] as const;
export type DataFate = (typeof dataFates)[number];

interface FileState {
  readonly content: Buffer;
  readonly mode: number;
}

/** What is certain and what is not when the power goes after some operations. */
export interface CutPoint {
  readonly certainNames: Names;
  /** Changes of names that may be there or not, in order. */
  readonly openNames: readonly (readonly NameChange[])[];
  /** Files of which the content is not certain: before, and after. */
  readonly openFiles: ReadonlyMap<number, { readonly before: FileState; readonly after: FileState }>;
  readonly certainFiles: ReadonlyMap<number, FileState>;
}

function applyTo(state: FileState, operation: FileOperation): FileState {
  switch (operation.kind) {
    case "write": {
      const { position, bytes } = operation;
      const content = Buffer.alloc(Math.max(state.content.length, position + bytes.length));
      state.content.copy(content);
      bytes.copy(content, position);
      return { ...state, content };
    }
    case "truncate": {
      const content = Buffer.alloc(operation.length);
      state.content.copy(content);
      return { ...state, content };
    }
    case "chmod":
      return { ...state, mode: operation.mode };
  }
}

function withChanges(names: Names, applied: Iterable<readonly NameChange[]>): Names {
  const result = new Map([...names].map(([directory, entries]) => [directory, new Map(entries)]));
  for (const changes of applied) {
    for (const { directory, name, to } of changes) {
      const entries = result.get(directory) ?? new Map<string, number>();
      result.set(directory, entries);
      if (to === undefined) entries.delete(name);
      else entries.set(name, to);
    }
  }
  return result;
}

/** The directories as programs see them after all of the operations. */
export function liveNames({ names, operations }: Recording): Names {
  return withChanges(
    names,
    operations.flatMap((operation) => (operation.kind === "names" ? [operation.changes] : [])),
  );
}

type FileOperation = Extract<Operation, { readonly kind: "write" | "truncate" | "chmod" }>;

/** The operations so far, and what of them is certain. */
class Disk {
  private readonly recording: Recording;
  private names: Names;
  private open: { readonly at: number; readonly changes: readonly NameChange[] }[] = [];
  private readonly files = new Map<number, FileState>();
  private readonly written = new Map<number, { readonly at: number; readonly operation: FileOperation }[]>();

  constructor(recording: Recording) {
    this.recording = recording;
    this.names = recording.names;
  }

  private certain(node: number): FileState {
    return this.files.get(node) ?? this.recording.nodes.get(node) ?? { content: Buffer.alloc(0), mode: 0 };
  }

  add(operation: Operation, at: number): void {
    switch (operation.kind) {
      case "names":
        this.open.push({ at, changes: operation.changes });
        break;
      case "sync-directory": {
        const isSynced = (one: (typeof this.open)[number]) =>
          one.at < operation.since && one.changes.some(({ directory }) => directory === operation.directory);
        this.names = withChanges(
          this.names,
          this.open.filter(isSynced).map(({ changes }) => changes),
        );
        this.open = this.open.filter((one) => !isSynced(one));
        break;
      }
      case "sync": {
        const all = this.written.get(operation.node) ?? [];
        const synced = all.filter((one) => one.at < operation.since).map((one) => one.operation);
        this.files.set(operation.node, synced.reduce(applyTo, this.certain(operation.node)));
        const left = all.filter((one) => one.at >= operation.since);
        if (left.length === 0) this.written.delete(operation.node);
        else this.written.set(operation.node, left);
        break;
      }
      default:
        this.written.set(operation.node, [...(this.written.get(operation.node) ?? []), { at, operation }]);
    }
  }

  cut(): CutPoint {
    const openFiles = [...this.written].map(([node, pending]) => {
      const before = this.certain(node);
      return [node, { before, after: pending.map((one) => one.operation).reduce(applyTo, before) }] as const;
    });
    return {
      certainNames: this.names,
      openNames: this.open.map(({ changes }) => changes),
      openFiles: new Map(openFiles),
      certainFiles: new Map(this.files),
    };
  }
}

/** Every instant at which the power can go: before the first operation, and after each. */
export function* cutPoints(recording: Recording): Generator<CutPoint> {
  const disk = new Disk(recording);
  yield disk.cut();
  for (const [at, operation] of recording.operations.entries()) {
    disk.add(operation, at);
    yield disk.cut();
  }
}

/** One of the things that the disk may hold. */
export interface Outcome {
  readonly names: Names;
  readonly file: (node: number) => FileState;
}

function fateOf(fate: DataFate, { before, after }: { before: FileState; after: FileState }): FileState {
  const { length } = after.content;
  switch (fate) {
    case "new":
      return after;
    case "old":
      return before;
    case "zeros": {
      const content = Buffer.alloc(length);
      before.content.copy(content);
      return { ...after, content };
    }
    case "part":
      return { ...before, content: after.content.subarray(0, length >> 1) };
    case "empty":
      return { ...before, content: Buffer.alloc(0) };
  }
}

/**
 * @param kept which of the open changes of names are there
 * @param fates what became of each open file
 */
export function outcomeOf(
  recording: Recording,
  cut: CutPoint,
  kept: (index: number) => boolean,
  fates: (node: number) => DataFate,
): Outcome {
  const names = withChanges(
    cut.certainNames,
    cut.openNames.filter((_, index) => kept(index)),
  );
  return {
    names,
    file: (node) => {
      const open = cut.openFiles.get(node);
      if (open !== undefined) return fateOf(fates(node), open);
      const state = cut.certainFiles.get(node) ?? recording.nodes.get(node);
      if (state === undefined) throw new Error(`node ${node} was never made`);
      return state;
    },
  };
}
