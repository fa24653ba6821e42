// `mosb manifest explain`.
import { buildCommand } from "@stricli/core";
import { MosError } from "../../errors/mos-error.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText } from "../output.ts";
import { manifestFile, readManifest } from "./manifest-file.ts";

interface ExplainFlags extends JsonFlag {
  readonly service?: string;
}

export const manifestExplain = withExamples(
  buildCommand<ExplainFlags, [string], CliContext>({
    docs: {
      brief: "Print the units that a manifest becomes",
      fullDescription: `Every systemd unit and quadlet that a device would render, as files. Sources are not opened, so what only an image
knows has a stand-in: one layer each, and /WHAT-THE-IMAGE-SAYS as the program.`,
    },
    parameters: {
      flags: {
        service: {
          kind: "parsed",
          brief: "Only what concerns this service",
          placeholder: "SERVICE",
          optional: true,
          parse: (input: string) => input,
        },
        json: jsonFlag,
      },
      positional: manifestFile,
    },
    async func(flags, file) {
      const { stdout } = this.terminal;
      const manifest = await readManifest(file);
      const wanted = flags.service;
      if (wanted !== undefined && !manifest.targets.some(({ service_name }) => service_name === wanted))
        throw new MosError("service-unknown", `${file} has no service ${wanted}`, {
          about: wanted,
          hint: "",
        });
      const { explainManifest } = await import("../../services/explain.ts");
      const units = explainManifest(manifest).filter(
        ({ services }) => wanted === undefined || services.includes(wanted),
      );
      if (flags.json) return stdout.write(jsonText({ file, units }));
      const texts = units.map(({ kind, name, content }) => `# ${kind}: ${name}\n${content}`);
      stdout.write(texts.join("\n"));
    },
  }),
  [
    ["mosb manifest explain manifest.yaml", "everything"],
    ["mosb manifest explain --service zot manifest.yaml", "one service, with its root and its volumes"],
  ],
);
