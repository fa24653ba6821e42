// `mosb manifest check|schema`.
import { dirname, resolve } from "node:path";
import { buildCommand } from "@stricli/core";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText } from "../output.ts";
import { manifestFile, readManifest } from "./manifest-file.ts";

export const manifestCheck = withExamples(
  buildCommand<JsonFlag, [string], CliContext>({
    docs: {
      brief: "Check a manifest without publishing it",
      fullDescription: `Reads a manifest and reports every problem with its line and column. Of rootfs: sources that are there it also
checks that what they start could start: that the program, its interpreter and all libraries are in that same root.
Other sources are not opened.`,
    },
    parameters: { flags: { json: jsonFlag }, positional: manifestFile },
    async func(flags, file) {
      const manifest = await readManifest(file);
      const { stdout } = this.terminal;
      const { checkRoots } = await import("../../publish/programs.ts");
      const programs = await checkRoots(manifest, dirname(resolve(file)));
      if (flags.json) {
        const targets = manifest.targets.length;
        return stdout.write(jsonText({ file, product: manifest.product, targets, programs }));
      }
      stdout.write(`${file} is sound: ${manifest.targets.length} targets of ${manifest.product}.\n`);
    },
  }),
  [["mosb manifest check manifest.yaml", "all problems at once, with line and column"]],
);

export const manifestSchema = buildCommand<JsonFlag, [], CliContext>({
  docs: { brief: "Print the JSON Schema of manifests", fullDescription: "For editors and other tools." },
  parameters: { flags: { json: jsonFlag } },
  async func() {
    const { manifestJsonSchema } = await import("../../manifest/json-schema.ts");
    this.terminal.stdout.write(jsonText(manifestJsonSchema()));
  },
});
