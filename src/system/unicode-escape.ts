/** A character as `\uXXXX`, which JSON, Go and systemd read back (RFC 8259 section 7, systemd.syntax(7)). */
export function unicodeEscape(character: string): string {
  return `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`;
}
