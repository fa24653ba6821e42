import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { execute } from "../../../src/cli/frame.ts";
import { app } from "../../../src/cli/mosb/app.ts";
import { temporaryDirectory } from "../../support.ts";
import { text, writePe } from "../efi/pe-writer.ts";
import { recordingTerminal } from "./terminal.ts";

async function mosb(...argv: readonly string[]) {
  const terminal = recordingTerminal({});
  const exit = await execute(app, argv, terminal);
  return { exit, out: terminal.out(), err: terminal.err() };
}

test.each(["build", "sign", "inspect"])("mosb uki %s explains itself with examples", async (command) => {
  const { exit, out } = await mosb("uki", command, "--help");
  expect([exit, out]).toEqual([0, expect.stringMatching(/EXAMPLES\n {2}\S/)]);
});

test("mosb uki inspect shows an image in words, and what is wrong with it", async () => {
  const file = join(await temporaryDirectory(), "linux.efi");
  const sections = [
    { name: ".osrel", content: text('PRETTY_NAME="mos \x1b[31mtest"\n') },
    { name: ".linux", content: text("kernel") },
  ];
  await writeFile(file, writePe(sections));
  const { exit, out } = await mosb("uki", "inspect", file);
  expect(exit).toBe(0);
  expect(out).toMatch(/command line +none: it takes any/);
  expect(out).toContain("mos \\x1b[31mtest");
  expect(out).toMatch(/signature +none/);
  expect(out).toMatch(/^\.linux +6 B +[0-9a-f]{64}$/m);
  expect(out).toMatch(/^enter-initrd +[0-9a-f]{64}$/m);
});
