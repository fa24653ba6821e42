// Secrets of a service in the two forms of the manifest. What is encrypted, and how: src/secrets/envelope.ts.
import * as z from "zod";
import { dataSizes, sealedSize } from "../secrets/envelope.ts";
import { base64Schema, fingerprintSchema } from "./binary.ts";
import { lineSchema, secretNameSchema } from "./names.ts";

const maxSecrets = 64;
const maxRecipients = 256;

/** A secret that was encrypted, the same in both forms. */
const encryptedFields = {
  data: base64Schema(dataSizes).describe("The secret, encrypted with a key of its own."),
  recipients: z
    .array(
      z.strictObject({
        key: fingerprintSchema.describe("SHA-256 of the device's public key."),
        sealed: base64Schema({ min: sealedSize, max: sealedSize }).describe(
          "The key of `data`, encrypted to that device.",
        ),
      }),
    )
    .min(1)
    .max(maxRecipients)
    .describe("The devices that can open it."),
};

const installSecretSchema = z.strictObject({ name: secretNameSchema, ...encryptedFields });

export const installSecretsSchema = z
  .array(installSecretSchema)
  .max(maxSecrets)
  .nullish()
  .transform((secrets) => secrets ?? []);

export type Secret = z.output<typeof installSecretSchema>;

const importSecretSchema = z.strictObject({
  name: secretNameSchema.describe("Name of the file in which the service finds it, once in a service."),
  file: lineSchema(4096)
    .optional()
    .describe(
      "File with the secret, encrypted anew by each `mosb manifest publish`. Relative paths start at the manifest's directory.",
    ),
  recipients: z
    .array(lineSchema(4096))
    .min(1)
    .max(maxRecipients)
    .optional()
    .describe("With `file`: the devices that can open it, as PEM files that `mosctl secret-key` printed."),
  encrypted: z
    .strictObject(encryptedFields)
    .optional()
    .describe("Instead of `file`: the secret as `mosb secret encrypt` printed it."),
});

export const importSecretsSchema = z
  .array(importSecretSchema)
  .max(maxSecrets)
  .default([])
  .describe(
    "What only the device's TPM can open, given to the service as files in `$CREDENTIALS_DIRECTORY`; `container` only.",
  );

export type ImportSecret = z.output<typeof importSecretSchema>;
