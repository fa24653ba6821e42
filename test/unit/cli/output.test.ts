import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { escapeControls, keyValues, table } from "../../../src/cli/output.ts";
import { formatBytes, formatDuration } from "../../../src/system/quantity.ts";
import { recordingTerminal } from "./terminal.ts";

const { stdout } = recordingTerminal();

describe("tables", () => {
  test("align their columns and end without spaces", () => {
    expect(
      table(
        stdout,
        ["NAME", "STATE"],
        [
          ["zot", "running"],
          ["a-longer-name", ""],
          ["é", { text: "x", look: "red" }],
        ],
      ),
    ).toBe("NAME           STATE\nzot            running\na-longer-name\né              x\n");
  });

  test("align under colour as without it", () => {
    const { stdout: colored } = recordingTerminal({}, { hasColor: true });
    const rows = [[{ text: "a", look: "green" as const }, "b"]];
    const text = table(colored, ["LONG", "B"], rows);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what colours are made of
    expect(text.replaceAll(/\u001b\[\d+m/g, "")).toBe(table(stdout, ["LONG", "B"], rows));
    expect(text).toContain("\u001b[32ma\u001b[39m");
  });

  test("and blocks keep every cell on its line, whatever is in it", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(table(stdout, ["A"], [[text]]).split("\n")).toHaveLength(3);
        expect(keyValues(stdout, [["key", text]]).split("\n")).toHaveLength(2);
      }),
    );
  });

  test("leave out what is not known from blocks", () => {
    expect(
      keyValues(stdout, [
        ["name", "zot"],
        ["longer-key", undefined],
        ["id", "1"],
      ]),
    ).toBe("name  zot\nid    1\n");
  });
});

test("text from outside cannot move the cursor, hide or reverse anything", () => {
  expect(escapeControls("a\u001b[2Jb\r\n\tc\u202ed\u0000\u009b")).toBe(
    "a\\x1b[2Jb\\r\\n\\tc\\u{202e}d\\x00\\x9b",
  );
  expect(escapeControls("Zürich 東京 ✓")).toBe("Zürich 東京 ✓");
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      expect(escapeControls(text)).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    }),
  );
});

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "0.98 KiB"],
  [1024, "1 KiB"],
  [1536, "1.5 KiB"],
  [150 * 1024 * 1024, "150 MiB"],
  [1.5 * 1024 ** 3, "1.5 GiB"],
  [5000 * 1024 ** 4, "5000 TiB"],
])("%i bytes are shown as %s", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

test.each([
  [0, "0 ms"],
  [850.4, "850 ms"],
  [3210, "3.2 s"],
  [59_949, "59.9 s"],
  [59_960, "1 min"],
  [250_000, "4 min 10 s"],
  [3_600_000, "1 h"],
  [11_100_000, "3 h 5 min"],
  [1_051_200_000, "12 d 4 h"],
])("%d milliseconds are shown as %s", (milliseconds, text) =>
  expect(formatDuration(milliseconds)).toBe(text),
);
