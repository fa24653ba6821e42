// Which of two versions is newer, as systemd-boot orders its entries: the UAPI group's "Version Format Specification",
// which strverscmp_improved() of systemd implements. Pure.

/** Characters that count; others only part what is before from what is after. */
const counted = /[0-9A-Za-z~\-^.]/;

function takeWhile(text: string, pattern: RegExp): string {
  let end = 0;
  while (end < text.length && pattern.test(text[end] ?? "")) end++;
  return text.slice(0, end);
}

/** Each of these ends a part, the first as the lowest: `1~rc` < `1` < `1-2` < `1^post` < `1.1`. */
const separators = ["~", "-", "^", "."] as const;

function compareText(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** @returns below zero when `a` is older, above when it is newer, zero when they are equal */
export function compareVersions(a: string, b: string): number {
  let [one, other] = [a, b];
  for (;;) {
    while (one !== "" && !counted.test(one[0] ?? "")) one = one.slice(1);
    while (other !== "" && !counted.test(other[0] ?? "")) other = other.slice(1);
    // Below everything, also the end.
    if (one.startsWith("~") || other.startsWith("~")) {
      if (!one.startsWith("~")) return 1;
      if (!other.startsWith("~")) return -1;
    }
    if (one === "" || other === "") return compareText(one === "" ? "" : "x", other === "" ? "" : "x");
    let isSeparated = false;
    for (const separator of separators) {
      const [has, hasOther] = [one.startsWith(separator), other.startsWith(separator)];
      if (!has && !hasOther) continue;
      if (!has) return separator === "~" ? 1 : 1;
      if (!hasOther) return -1;
      [one, other] = [one.slice(1), other.slice(1)];
      isSeparated = true;
      break;
    }
    if (isSeparated) continue;
    const isNumber = /[0-9]/.test(one[0] ?? "") || /[0-9]/.test(other[0] ?? "");
    const pattern = isNumber ? /[0-9]/ : /[A-Za-z]/;
    const [part, otherPart] = [takeWhile(one, pattern), takeWhile(other, pattern)];
    // Numbers of any length, without their leading zeros.
    const [left, right] = isNumber
      ? [part.replace(/^0+(?=.)/, ""), otherPart.replace(/^0+(?=.)/, "")]
      : [part, otherPart];
    if (part === "" || otherPart === "") return compareText(part, otherPart);
    const order =
      isNumber && left.length !== right.length ? left.length - right.length : compareText(left, right);
    if (order !== 0) return order;
    [one, other] = [one.slice(part.length), other.slice(otherPart.length)];
  }
}
