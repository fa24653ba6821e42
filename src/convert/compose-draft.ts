// What the rules for the keys of a compose service share: the target that is put together, and where what cannot be said
// is reported. No key is passed over: a rule takes it, or says why not.
import { type Fields, listOf, recordOf, textOf, wordsOf } from "./model.ts";

/** What one service is put together from. */
export interface Draft {
  readonly name: string;
  /** All of what compose says of the service. */
  readonly service: Fields;
  readonly fields: Fields;
  readonly miss: (key: string, why: string) => void;
  readonly useVolume: (label: string) => void;
}

/** One key of a compose service: puts what it means into the draft, or says why not. */
export type Rule = (value: unknown, draft: Draft) => void;
export type Rules = Readonly<Record<string, Rule>>;

export const noCounterpart = "has no counterpart in a manifest";

/** Adds fields to a section of the target. */
export function into(draft: Draft, section: string, more: Fields): void {
  draft.fields[section] = { ...recordOf(draft.fields[section]), ...more };
}

/** The text of a value as one field. */
export function text(section: string, key: string): Rule {
  return (value, draft) => into(draft, section, { [key]: textOf(value) });
}

/** A field that `read` understands; what it does not is reported. */
export function field(from: string, section: string, key: string, read: (of: string) => unknown): Rule {
  return (value, draft) => {
    const of = textOf(value) ?? "";
    const found = read(of);
    if (found === undefined) draft.miss(`${from} ${of}`, "is of a form that a manifest has not");
    else into(draft, section, { [key]: found });
  };
}

/** A key that says nothing on a device as long as it has the value that it has on every one. */
export function only(from: string, isUsual: (value: unknown, draft: Draft) => boolean, why: string): Rule {
  return (value, draft) => {
    if (!isUsual(value, draft)) draft.miss(from, why);
  };
}

/** Reports every key of a record that is not known. */
export function leftOver(at: string, record: Fields, known: readonly string[], draft: Draft): void {
  for (const key of Object.keys(record).filter((one) => !known.includes(one)))
    draft.miss(`${at}.${key}`, noCounterpart);
}

/** A number, or undefined. */
export function numberOf(of: string): number | undefined {
  return /^[0-9]+(\.[0-9]+)?$/.test(of) ? Number(of) : undefined;
}

/** Words of a command line, or of a list. */
export function words(value: unknown): string[] | undefined {
  if (typeof value === "string") return wordsOf(value);
  return Array.isArray(value) ? value.map((item) => textOf(item) ?? "") : undefined;
}

/** `NAME=value` pairs of a list or a record; a value that is not there is undefined (Compose Specification, environment). */
export function pairsOf(value: unknown): (readonly [string, string | undefined])[] {
  const record = recordOf(value);
  if (record !== undefined) return Object.entries(record).map(([name, of]) => [name, textOf(of)] as const);
  return listOf(value).map((item) => {
    const all = textOf(item) ?? "";
    const at = all.indexOf("=");
    return at < 0 ? ([all, undefined] as const) : ([all.slice(0, at), all.slice(at + 1)] as const);
  });
}
