import fc from "fast-check";
import { expect, test } from "vitest";
import { endOfHead, parseHead, plainLength } from "../../../src/oci/http-head.ts";

const bytes = (text: string) => Buffer.from(text, "latin1");

test("an answer's status, headers and length are read", () => {
  const text = "HTTP/1.1 200 OK\r\nContent-Length: 42\r\nX-Empty:\r\nX-Text:  a b \t\r\n\r\n";
  expect(endOfHead(bytes(`${text}body`))).toBe(text.length);
  const head = parseHead(bytes(text));
  expect(head?.status).toBe(200);
  expect(Object.fromEntries(head?.headers ?? [])).toEqual({
    "content-length": "42",
    "x-empty": "",
    "x-text": "a b",
  });
  expect(head === undefined ? undefined : plainLength(head)).toBe(42);
});

test("what has no end has no head yet", () => {
  expect(endOfHead(bytes("HTTP/1.1 200 OK\r\nA: b\r\n"))).toBe(-1);
});

test.each([
  ["another version", "HTTP/1.0 200 OK\r\n\r\n"],
  ["a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"],
  ["no status line", "A: b\r\n\r\n"],
  ["a field twice", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n"],
  ["a folded field", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"],
  ["a space before the colon", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n"],
  ["a bare line feed", "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n"],
  ["a control character", "HTTP/1.1 200 OK\r\nA: \u0001\r\n\r\n"],
  ["other than ASCII", "HTTP/1.1 200 OK\r\nA: \u00e9\r\n\r\n"],
])("a head with %s is not taken", (_, text) => {
  expect(parseHead(bytes(text))).toBeUndefined();
});

test.each([
  ["none", ""],
  ["a transfer coding", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"],
  ["a content coding", "Content-Length: 1\r\nContent-Encoding: gzip\r\n"],
  ["a sign", "Content-Length: +1\r\n"],
  ["a list", "Content-Length: 1, 1\r\n"],
  ["leading zeros", "Content-Length: 01\r\n"],
  ["hexadecimal digits", "Content-Length: 0x1\r\n"],
  ["too many digits", `Content-Length: ${"9".repeat(17)}\r\n`],
])("a length with %s is no length", (_, fields) => {
  const head = parseHead(bytes(`HTTP/1.1 200 OK\r\n${fields}\r\n`));
  expect(head).toBeDefined();
  expect(head === undefined ? undefined : plainLength(head)).toBeUndefined();
});

test("any bytes are read or not, and never fail", () => {
  const part = fc.constantFrom(
    "HTTP/1.1 200 OK",
    "\r\n",
    "\r",
    "\n",
    "A",
    ":",
    " ",
    "Content-Length: 5",
    "\u00ff",
  );
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(part).map((parts) => parts.join("")),
  );
  fc.assert(
    fc.property(text, (head) => {
      const parsed = parseHead(bytes(head));
      if (parsed === undefined) return;
      expect(parsed.status).toBeGreaterThanOrEqual(100);
      const length = plainLength(parsed);
      expect(length === undefined || Number.isSafeInteger(length)).toBe(true);
    }),
    { numRuns: 1000 },
  );
});
