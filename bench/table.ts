// What a benchmark answers: a table whose figures stay numbers until they are printed.

/** Of several runs. */
export interface Figure {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

type Unit = "ms" | "MiB" | "files";

type Cell = string | Figure;

export interface Subject {
  readonly title: string;
  /** Exactly what is compared, and what a reader must know to judge it. */
  readonly notes: readonly string[];
  readonly columns: readonly { readonly heading: string; readonly unit?: Unit }[];
  /** A cell for each column. */
  readonly rows: readonly (readonly Cell[])[];
}

export function figure(values: readonly number[]): Figure {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  const median = sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
  return { median, min: sorted[0] ?? 0, max: sorted.at(-1) ?? 0 };
}

/** How many times the one is the other, from run to run: both were measured in the same rounds. */
export function ratio(one: readonly number[], other: readonly number[]): Figure {
  return figure(one.map((value, round) => value / (other[round] ?? Number.NaN)));
}

function textOf(cell: Cell): string {
  if (typeof cell === "string") return cell;
  const digits = cell.median >= 100 ? 0 : cell.median >= 10 ? 1 : 2;
  const [median, min, max] = [cell.median, cell.min, cell.max].map((value) => value.toFixed(digits));
  return `${median} (${min}–${max})`;
}

/** For people. */
export function asText({ title, notes, columns, rows }: Subject): string {
  const headings = columns.map(({ heading, unit }) => (unit === undefined ? heading : `${heading}, ${unit}`));
  const lines = [headings, ...rows.map((row) => row.map(textOf))];
  const widths = headings.map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  const table = lines.map((line) =>
    line
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
  return [title, ...table.map((line) => `  ${line}`), ...notes.map((note) => `  - ${note}`), ""].join("\n");
}

/** For machines: each row an object with the headings as keys, each figure with its unit. */
export function asJson({ title, notes, columns, rows }: Subject): unknown {
  const value = (cell: Cell | undefined, unit: Unit | undefined): unknown =>
    typeof cell === "object" && unit !== undefined ? { ...cell, unit } : (cell ?? null);
  return {
    title,
    notes,
    rows: rows.map((row) =>
      Object.fromEntries(columns.map(({ heading, unit }, i) => [heading, value(row[i], unit)])),
    ),
  };
}
