// Unit names from strings and paths, as systemd-escape(1) makes them (systemd.unit(5), "String Escaping for
// Inclusion in Unit Names").

const plain = /^[A-Za-z0-9:_.]$/;

function escapeByte(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}

/** `systemd-escape TEXT`: '/' becomes '-', everything unusual `\xNN`. */
export function escapeUnitName(text: string): string {
  let out = "";
  for (const [i, byte] of new TextEncoder().encode(text).entries()) {
    const char = String.fromCharCode(byte);
    if (char === "/") out += "-";
    else out += plain.test(char) && !(i === 0 && char === ".") ? char : escapeByte(byte);
  }
  return out;
}

/** `systemd-escape --path PATH`: an absolute, normalised path without its outer slashes. */
export function escapePath(path: string): string {
  const parts = path.split("/").filter((part) => part !== "");
  return parts.length === 0 ? "-" : escapeUnitName(parts.join("/"));
}

/** The name that a .mount unit for this mount point must have. */
export function mountUnitName(path: string): string {
  return `${escapePath(path)}.mount`;
}
