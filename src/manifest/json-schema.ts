// The published JSON Schema (draft 2020-12) of manifest.yaml, made from the one schema that mos itself uses.
import * as z from "zod";
import { importManifestSchema } from "./schema.ts";

/** JSON Schema of what a person may write. */
export function manifestJsonSchema(): unknown {
  const schema = z.toJSONSchema(importManifestSchema, {
    io: "input",
    unrepresentable: "any",
    override: ({ zodSchema, jsonSchema }) => {
      // A digest is checked by a function of ours, which has no JSON Schema of its own.
      if (zodSchema._zod.def.type === "custom")
        Object.assign(jsonSchema, { type: "string", pattern: "^sha256:[0-9a-f]{64}$" });
    },
  });
  return { ...schema, title: "mos manifest", $id: "https://mos.invalid/schema/manifest-1.json" };
}
