// `mosb`: the commands of a publisher's build host that make and publish manifests and boot images.
import { buildRouteMap } from "@stricli/core";
import { application, type CliContext } from "../command.ts";
import { appCommands } from "./app-bundle.ts";
import { manifestConvert } from "./convert.ts";
import { manifestExplain } from "./explain.ts";
import { imageBuild, imageCheck, imageSchema } from "./image.ts";
import { manifestLint } from "./lint.ts";
import { manifestCheck, manifestSchema } from "./manifest.ts";
import { manifestPublish } from "./publish.ts";
import { secretEncrypt } from "./secret.ts";
import { setCommands } from "./set.ts";
import { manifestSign } from "./sign.ts";
import { ukiBuild, ukiInspect, ukiSign } from "./uki.ts";

const manifest = buildRouteMap<string, CliContext>({
  docs: { brief: "Check, publish and sign manifests" },
  routes: {
    check: manifestCheck,
    convert: manifestConvert,
    explain: manifestExplain,
    lint: manifestLint,
    publish: manifestPublish,
    schema: manifestSchema,
    sign: manifestSign,
  },
});

const uki = buildRouteMap<string, CliContext>({
  docs: { brief: "Build, sign and inspect unified kernel images" },
  routes: { build: ukiBuild, sign: ukiSign, inspect: ukiInspect },
});

const image = buildRouteMap<string, CliContext>({
  docs: { brief: "Build OS images" },
  routes: { build: imageBuild, check: imageCheck, schema: imageSchema },
});

const secret = buildRouteMap<string, CliContext>({
  docs: { brief: "Encrypt secrets for services to devices" },
  routes: { encrypt: secretEncrypt },
});

export const app = application(
  "mosb",
  {
    brief: "Build and publish signed manifests",
    fullDescription: `A manifest lists the services of a product and where their images come from. mosb packs what is not packed
yet, compiles the manifest to the install.json that devices read, signs it with a project's key and publishes it,
with all its images, to a registry or to a directory.

Start with:  trust keyset add NAME  and  trust project add NAME PROJECT`,
  },
  { app: appCommands, image, manifest, secret, set: setCommands, uki },
);
