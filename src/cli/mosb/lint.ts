// `mosb manifest lint`.
import { buildCommand } from "@stricli/core";
import { exitCodes } from "../../errors/catalogue.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { escapeControls, jsonText } from "../output.ts";
import { manifestFile, readTextFile } from "./manifest-file.ts";

interface LintFlags extends JsonFlag {
  readonly strict?: boolean;
}

export const manifestLint = withExamples(
  buildCommand<LintFlags, [string], CliContext>({
    docs: {
      brief: "Find what will fail or surprise",
      fullDescription: `Everything that mosb manifest check finds, and what is allowed but worth knowing: each loosening of the strict
defaults, and what will be missed one day. Each with its line and column. Exits with 3 when the manifest is not sound,
and with --strict also when anything was found.`,
    },
    parameters: {
      flags: {
        strict: { kind: "boolean", brief: "Fail on any finding", optional: true, withNegated: false },
        json: jsonFlag,
      },
      positional: manifestFile,
    },
    async func(flags, file) {
      const { stdout } = this.terminal;
      const text = await readTextFile(file);
      const [{ locateManifestYaml }, { lintManifest }] = await Promise.all([
        import("../../manifest/manifest-yaml.ts"),
        import("../../manifest/lint.ts"),
      ]);
      const { manifest, at } = locateManifestYaml(text, file);
      const findings = lintManifest(manifest)
        .map(({ path, kind, message }) => {
          const index = path[0] === "targets" && typeof path[1] === "number" ? path[1] : -1;
          const service = manifest.targets[index]?.service_name;
          return {
            ...at(path),
            kind,
            field: path.join("."),
            ...(service === undefined ? {} : { service }),
            message,
          };
        })
        .sort((a, b) => a.line - b.line || a.column - b.column);
      if (flags.strict === true && findings.length > 0) this.outcome.exitCode = exitCodes.input;
      if (flags.json) return stdout.write(jsonText({ file, findings }));
      for (const { line, column, kind, service, message } of findings) {
        const who = service === undefined ? "" : `${service} `;
        stdout.write(escapeControls(`${file}:${line}:${column}: ${kind}: ${who}${message}`));
        stdout.write("\n");
      }
      if (findings.length === 0) stdout.write(`${file} is sound, and nothing in it surprises.\n`);
    },
  }),
  [
    ["mosb manifest lint manifest.yaml", "what to know before publishing"],
    ["mosb manifest lint --strict manifest.yaml", "for CI: any finding fails"],
  ],
);
