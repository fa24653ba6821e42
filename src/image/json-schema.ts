// The published JSON Schema (draft 2020-12) of image.yaml, made from the one schema that mos itself uses.
import * as z from "zod";
import { imageDescriptionSchema } from "./description-schema.ts";

/** JSON Schema of what a person may write. */
export function imageJsonSchema(): unknown {
  const schema = z.toJSONSchema(imageDescriptionSchema, { io: "input", unrepresentable: "any" });
  return { ...schema, title: "mos image description", $id: "https://mos.invalid/schema/image-1.json" };
}
