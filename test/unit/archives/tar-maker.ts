// Tar archives with whatever a test wants in them, member by member.
const block = 512;

export interface Made {
  readonly path: string;
  readonly type?: string;
  readonly content?: string | Buffer;
  readonly target?: string;
  readonly mode?: number;
  /** What the header says, when it lies. */
  readonly size?: number;
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((block - (bytes.length % block)) % block)]);
}

function tarMember({ path, type = "0", content = "", target = "", mode = 0o644, size }: Made): Buffer {
  const bytes = Buffer.from(content);
  const header = Buffer.alloc(block);
  const put = (text: string, at: number): void => void header.write(text, at, "utf8");
  const octal = (value: number, length: number): string => `${value.toString(8).padStart(length - 1, "0")}\0`;
  put(path.slice(0, 100), 0);
  put(octal(mode, 8), 100);
  put(octal(0, 8), 108);
  put(octal(0, 8), 116);
  put(octal(size ?? bytes.length, 12), 124);
  put(octal(0, 12), 136);
  put(type, 156);
  put(target.slice(0, 100), 157);
  put("ustar\x0000", 257);
  header.fill(0x20, 148, 156);
  put(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
  );
  return Buffer.concat([header, padded(bytes)]);
}

export function tarOf(members: readonly Made[]): Buffer {
  return Buffer.concat([...members.map(tarMember), Buffer.alloc(2 * block)]);
}

/** A record of a pax header, whose length counts itself. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest);
  while (`${length}`.length + Buffer.byteLength(rest) !== length)
    length = `${length}`.length + Buffer.byteLength(rest);
  return `${length}${rest}`;
}
