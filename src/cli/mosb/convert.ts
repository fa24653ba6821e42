// `mosb manifest convert`.
import { basename } from "node:path";
import { buildCommand } from "@stricli/core";
import { type Converted, recordOf } from "../../convert/model.ts";
import { MosError } from "../../errors/mos-error.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { escapeControls, jsonText } from "../output.ts";
import { readTextFile } from "./manifest-file.ts";

function refuse(file: string, why: string): MosError {
  return new MosError("conversion-refused", `cannot convert ${file}: ${why}`, { about: file });
}

async function convertOne(file: string): Promise<Converted> {
  const text = await readTextFile(file);
  if (file.endsWith(".container")) {
    const { convertQuadlet } = await import("../../convert/quadlet.ts");
    return convertQuadlet(text, basename(file, ".container"));
  }
  const [{ parseDocument }, { convertCompose }] = await Promise.all([
    import("yaml"),
    import("../../convert/compose.ts"),
  ]);
  const document = parseDocument(text, { merge: true });
  const [broken] = document.errors;
  if (broken !== undefined) throw refuse(file, broken.message.split("\n")[0] ?? "it is not YAML");
  // Aliases are usual in compose files; a limit keeps a small file from becoming a large one (A10).
  const plain = recordOf(document.toJS({ maxAliasCount: 100 }));
  if (plain === undefined || recordOf(plain["services"]) === undefined)
    throw refuse(file, "it has no services, so it is not a compose file");
  return convertCompose(plain);
}

export const manifestConvert = withExamples(
  buildCommand<JsonFlag, string[], CliContext>({
    docs: {
      brief: "Make a manifest from a compose file or from quadlets",
      fullDescription: `Prints a manifest that says what the compose file (.yaml, .yml) or the quadlets (.container) say, as far as a
manifest can, and as comments above it what it cannot, or had to guess. Read it, then run mosb manifest lint.`,
    },
    parameters: {
      flags: { json: jsonFlag },
      positional: {
        kind: "array",
        minimum: 1,
        parameter: {
          brief: "compose file or quadlets",
          placeholder: "FILE",
          parse: (input: string) => input,
        },
      },
    },
    async func(flags, ...files) {
      const { stdout } = this.terminal;
      const parts: Converted[] = [];
      for (const file of files) parts.push(await convertOne(file));
      const manifest = {
        ...{ version: 1, product: "default", update_type: "complete" },
        storage: parts.flatMap(({ storage }) => storage),
        targets: parts.flatMap(({ targets }) => targets),
      };
      const [{ stringify }, { parseManifestYaml }] = await Promise.all([
        import("yaml"),
        import("../../manifest/manifest-yaml.ts"),
      ]);
      const text = stringify(manifest);
      const unmapped = parts.flatMap((part) => part.unmapped);
      try {
        parseManifestYaml(text, "manifest");
      } catch (error) {
        if (!(error instanceof MosError)) throw error;
        unmapped.push(...error.problems.map((problem) => `to mend by hand: ${problem}`));
      }
      if (flags.json) return stdout.write(jsonText({ manifest, unmapped }));
      for (const note of unmapped) stdout.write(`# ${escapeControls(note)}\n`);
      stdout.write(text);
    },
  }),
  [
    ["mosb manifest convert compose.yaml > manifest.yaml", "then read what its comments say"],
    ["mosb manifest convert web.container db.container", "several quadlets, one manifest"],
  ],
);
