// `trust project add|list`.
import { buildCommand } from "@stricli/core";
import { addProject } from "../../trust/keyset.ts";
import { findKey, viewProjects } from "../../trust/keyset-view.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { type Cell, jsonText, keyValues, table } from "../output.ts";
import { keysetParameter, rootOf, word } from "./parameters.ts";

export const projectAdd = withExamples(
  buildCommand<JsonFlag, [string, string], CliContext>({
    docs: {
      brief: "Make a new project in a keyset",
      fullDescription: `Makes a product uuid, and a key with a certificate under the keyset's manifest CA that signs this product's
manifests. An existing project is never touched.`,
    },
    parameters: {
      flags: { json: jsonFlag },
      positional: {
        kind: "tuple",
        parameters: [
          keysetParameter,
          { brief: "name of the new project", placeholder: "PROJECT", parse: word },
        ],
      },
    },
    async func(flags, keyset, project) {
      const { stdout } = this.terminal;
      const { uuid, path } = await addProject(rootOf(this), keyset, project);
      if (flags.json) return stdout.write(jsonText({ keyset, project, uuid, path }));
      const { certificate } = await findKey(rootOf(this), keyset, `manifest:${project}`);
      stdout.write(`Made the project ${keyset}:${project}.\n\n`);
      stdout.write(
        keyValues(stdout, [
          ["product", uuid],
          ["directory", path],
          ["signs as", certificate?.subject],
          ["key", certificate?.key],
          ["valid until", certificate?.notAfter],
        ]),
      );
      stdout.write(
        `\nNext: mosb manifest publish --project ${keyset}:${project} --repo HOST:PORT --name PATH:TAG MANIFEST.yaml\n`,
      );
    },
  }),
  [["trust project add demo zot", "the product zot under the keyset demo"]],
);

export const projectList = withExamples(
  buildCommand<JsonFlag, [string], CliContext>({
    docs: {
      brief: "List the projects of a keyset",
      fullDescription:
        "Lists each project with its product uuid, the type of its key and its certificate's end.",
    },
    parameters: {
      flags: { json: jsonFlag },
      positional: { kind: "tuple", parameters: [keysetParameter] },
    },
    async func(flags, keyset) {
      const { stdout } = this.terminal;
      const views = await viewProjects(rootOf(this), keyset);
      const projects = views.map(({ key, values, path, certificate, problem }) => ({
        name: key.slice("manifest:".length),
        uuid: values["uuid"],
        path,
        certificate,
        problem,
      }));
      if (flags.json) return stdout.write(jsonText({ keyset, projects }));
      if (projects.length === 0) {
        return stdout.write(
          `The keyset ${keyset} has no project.\nMake one with: trust project add ${keyset} PROJECT\n`,
        );
      }
      const rows = projects.map(({ name, uuid, certificate, problem }): readonly Cell[] => [
        name,
        uuid ?? "-",
        certificate?.key ?? "-",
        certificate?.notAfter.slice(0, 10) ?? { text: problem ?? "", look: "red" },
      ]);
      stdout.write(table(stdout, ["PROJECT", "PRODUCT", "TYPE", "VALID UNTIL"], rows));
    },
  }),
  [["trust project list demo", "what can be signed with the keyset demo"]],
);
