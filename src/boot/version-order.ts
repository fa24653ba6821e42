// Which of two versions is newer, as systemd-boot orders its entries: the UAPI group's "Version Format Specification",
// which strverscmp_improved() of systemd implements. Pure.

/** One part of a version, with what it ends before. */
type Part =
  /** Each of these ends what is before it, the first as the lowest: `1~rc` < `1` < `1-2` < `1^post` < `1.1`. */
  | { readonly kind: "separator"; readonly text: string }
  | { readonly kind: "number"; readonly text: string }
  | { readonly kind: "letters"; readonly text: string };

/** In this order, the end of a version being after "~" and before the others; letters and numbers come last. */
const separators = ["~", "", "-", "^", "."];

function partsOf(version: string): Part[] {
  return (version.match(/[~^.-]|[0-9]+|[A-Za-z]+/g) ?? []).map((text): Part => {
    if (/^[0-9]/.test(text)) return { kind: "number", text: text.replace(/^0+(?=.)/, "") };
    return { kind: /^[A-Za-z]/.test(text) ? "letters" : "separator", text };
  });
}

function compareTexts(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** Where a part comes before all others of its kind; undefined for the end. */
function rankOf(part: Part | undefined): number {
  if (part === undefined) return separators.indexOf("");
  if (part.kind === "separator") return separators.indexOf(part.text);
  return separators.length + (part.kind === "number" ? 1 : 0);
}

function compareParts(a: Part | undefined, b: Part | undefined): number {
  const order = rankOf(a) - rankOf(b);
  if (order !== 0 || a === undefined || b === undefined) return order;
  if (a.kind === "number" && a.text.length !== b.text.length) return a.text.length - b.text.length;
  return compareTexts(a.text, b.text);
}

/** @returns below zero when `a` is older, above when it is newer, zero when they are equal */
export function compareVersions(a: string, b: string): number {
  const [one, other] = [partsOf(a), partsOf(b)];
  for (let i = 0; i < Math.max(one.length, other.length); i++) {
    const order = compareParts(one[i], other[i]);
    if (order !== 0) return order;
  }
  return 0;
}
