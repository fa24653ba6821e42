// `trust project add|list`.
import { buildCommand } from "@stricli/core";
import { addProject } from "../../trust/keyset.ts";
import { findKey, viewProjects } from "../../trust/keyset-view.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { type Cell, jsonText, keyValues, table } from "../output.ts";
import { keysetParameter, rootOf, word } from "./parameters.ts";

interface AddFlags extends JsonFlag {
  readonly product?: string;
}

export const projectAdd = withExamples(
  buildCommand<AddFlags, [string, string], CliContext>({
    docs: {
      brief: "Make a new project in a keyset",
      fullDescription: `Makes a product uuid, and a key with a certificate under the keyset's manifest CA that signs this product's
manifests. An existing project is never touched.

With --product the project is a further signer of a product that there is already, for devices whose policy asks for
several signers: each has a key of their own.`,
    },
    parameters: {
      flags: {
        product: {
          kind: "parsed",
          parse: word,
          brief: "Product that the project signs for (default: a new one)",
          placeholder: "UUID",
          optional: true,
        },
        json: jsonFlag,
      },
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
      const { uuid, path } = await addProject(rootOf(this), keyset, project, flags.product);
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
  [
    ["trust project add demo zot", "the product zot under the keyset demo"],
    [
      "trust project add demo zot-second --product 3b2a6d1e-6f0f-4d0a-9a2c-0f6d8f1f7c55",
      "a second signer for that product",
    ],
  ],
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
