// Which of the things that the disk may hold after a power cut are tried, and how one of them is put into a directory.
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CutPoint, type DataFate, dataFates, type Outcome, outcomeOf, type Recording } from "./disk.ts";

/** Up to so many open changes of names every subset of them is tried; of more, so many by chance as well. */
const allSubsetsUpTo = 5;
const subsetsByChance = 8;

/** A generator of numbers below 1, the same for the same seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Subsets of the first `count` numbers, as membership tests. */
function* subsets(count: number, random: () => number): Generator<(index: number) => boolean> {
  yield () => true;
  yield () => false;
  if (count <= allSubsetsUpTo) {
    for (let set = 1; set < 2 ** count - 1; set++) yield (index) => (set & (1 << index)) !== 0;
    return;
  }
  // Each by itself missing, or there: the cases that a person would think of.
  for (let one = 0; one < count; one++) {
    yield (index) => index !== one;
    yield (index) => index === one;
  }
  for (let i = 0; i < subsetsByChance; i++) {
    const chosen = Array.from({ length: count }, () => random() < 0.5);
    yield (index) => chosen[index] === true;
  }
}

/** What the disk may hold when the power goes at this point: all that is tried of it, some of it alike. */
export function* outcomesAt(recording: Recording, cut: CutPoint, random: () => number): Generator<Outcome> {
  const all = () => true;
  // First what a killed process leaves.
  yield outcomeOf(recording, cut, all, () => "new");
  if (cut.openFiles.size > 0) {
    for (const fate of dataFates) yield outcomeOf(recording, cut, all, () => fate);
  }
  for (const kept of subsets(cut.openNames.length, random)) {
    yield outcomeOf(recording, cut, kept, () => "new");
    if (cut.openFiles.size === 0) continue;
    const fates = new Map<number, DataFate>();
    for (const node of cut.openFiles.keys()) {
      fates.set(node, dataFates[Math.floor(random() * dataFates.length)] ?? "old");
    }
    yield outcomeOf(recording, cut, kept, (node) => fates.get(node) ?? "old");
  }
}

const digests = new WeakMap<Buffer, string>();

function digestOfContent(content: Buffer): string {
  const known = digests.get(content);
  if (known !== undefined) return known;
  const digest = createHash("sha1").update(content).digest("base64");
  digests.set(content, digest);
  return digest;
}

/** The same text for the same tree. */
export function fingerprint(recording: Recording, outcome: Outcome): string {
  const lines: string[] = [];
  const walk = (node: number, path: string): void => {
    const kind = recording.nodes.get(node)?.kind;
    if (kind === "directory") {
      lines.push(`${path}/`);
      for (const [name, entry] of [...(outcome.names.get(node) ?? [])].sort()) walk(entry, `${path}/${name}`);
    } else {
      const { content, mode } = outcome.file(node);
      lines.push(`${path} ${mode} ${digestOfContent(content)}`);
    }
  };
  walk(recording.root, "");
  return createHash("sha1").update(lines.join("\n")).digest("base64");
}

/** Makes the tree in a directory that is not there yet. */
export function materialise(recording: Recording, outcome: Outcome, path: string): void {
  const put = (node: number, at: string): void => {
    const known = recording.nodes.get(node);
    if (known === undefined) throw new Error(`node ${node} was never made`);
    if (known.kind === "directory") {
      mkdirSync(at, { mode: known.mode });
      for (const [name, entry] of outcome.names.get(node) ?? []) put(entry, join(at, name));
    } else if (known.kind === "symlink") {
      symlinkSync(known.content.toString(), at);
    } else {
      const { content, mode } = outcome.file(node);
      writeFileSync(at, content, { mode });
      chmodSync(at, mode);
    }
  };
  put(recording.root, path);
}
