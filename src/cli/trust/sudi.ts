// `trust sudi add|list`.
import { buildCommand } from "@stricli/core";
import { addDevice, listDevices } from "../../trust/sudi.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues, table } from "../output.ts";
import { keysetParameter, rootOf, word } from "./parameters.ts";

const projectParameter = { brief: "name of the project", placeholder: "PROJECT", parse: word } as const;

export const sudiAdd = withExamples(
  buildCommand<JsonFlag, [string, string, string | undefined], CliContext>({
    docs: {
      brief: "Make the identity of one machine",
      fullDescription: `Makes a key, and under the keyset's SUDI CA a certificate that names the product and the machine. trust provision
puts both into the machine's TPM. An existing identity is never touched.`,
    },
    parameters: {
      flags: { json: jsonFlag },
      positional: {
        kind: "tuple",
        parameters: [
          keysetParameter,
          projectParameter,
          {
            brief: "serial number or uuid of the machine (default: a new uuid)",
            placeholder: "MACHINE",
            parse: word,
            optional: true,
          },
        ],
      },
    },
    async func(flags, keyset, project, wanted) {
      const { stdout } = this.terminal;
      const { machine, path, certificate } = await addDevice(rootOf(this), keyset, project, wanted);
      const subject = certificate.subject.text;
      if (flags.json) return stdout.write(jsonText({ keyset, project, machine, path, subject }));
      stdout.write(`Made the identity of ${machine}.\n\n`);
      stdout.write(
        keyValues(stdout, [
          ["subject", subject],
          ["directory", path],
          ["valid until", certificate.notAfter.toISOString()],
        ]),
      );
      stdout.write(`\nNext, on that machine: trust provision cert.pem privkey.pem\n`);
    },
  }),
  [
    ["trust sudi add demo zot 6CU1234ABC", "the machine with this serial number"],
    ["trust sudi add demo zot", "a machine that is known by a new uuid"],
  ],
);

export const sudiList = withExamples(
  buildCommand<JsonFlag, [string, string], CliContext>({
    docs: {
      brief: "List the machines of a project",
      fullDescription: "Lists the identities that were made.",
    },
    parameters: {
      flags: { json: jsonFlag },
      positional: { kind: "tuple", parameters: [keysetParameter, projectParameter] },
    },
    async func(flags, keyset, project) {
      const { stdout } = this.terminal;
      const devices = await listDevices(rootOf(this), keyset, project);
      const machines = devices.map(({ machine, path, certificate }) => ({
        ...{ machine, path, subject: certificate.subject.text, fingerprint: certificate.fingerprint },
        notAfter: certificate.notAfter.toISOString(),
      }));
      if (flags.json) return stdout.write(jsonText({ keyset, project, machines }));
      if (machines.length === 0) {
        return stdout.write(
          `The project ${keyset}:${project} has no machine.\nMake one with: trust sudi add ${keyset} ${project} [MACHINE]\n`,
        );
      }
      const rows = machines.map(({ machine, subject, notAfter }) => [
        machine,
        subject,
        notAfter.slice(0, 10),
      ]);
      stdout.write(table(stdout, ["MACHINE", "SUBJECT", "VALID UNTIL"], rows));
    },
  }),
  [["trust sudi list demo zot", "the machines that have an identity"]],
);
