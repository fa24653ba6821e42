// `trust`: the commands of a publisher's build host that make and show keysets and projects, and that sign and
// check what firmware starts.
import { buildRouteMap } from "@stricli/core";
import { application, type CliContext } from "../command.ts";
import { signEfi, verifyEfi } from "./efi.ts";
import { computePcr7, efivars } from "./firmware.ts";
import { keysetAdd, keysetList, keysetShow } from "./keyset.ts";
import { projectAdd, projectList } from "./project.ts";
import { extendPcr7Command, initrdSetupCommand, preinstallCommand, provisionCommand } from "./provision.ts";
import { keysetPcr7data, tpmPolicyGen } from "./signdata.ts";
import { sudiAdd, sudiList } from "./sudi.ts";

const keyset = buildRouteMap<string, CliContext>({
  docs: { brief: "Make, list and show keysets" },
  routes: { add: keysetAdd, list: keysetList, show: keysetShow, pcr7data: keysetPcr7data },
});

const project = buildRouteMap<string, CliContext>({
  docs: { brief: "Make and list the projects of a keyset" },
  routes: { add: projectAdd, list: projectList },
});

const sudi = buildRouteMap<string, CliContext>({
  docs: { brief: "Make and list the identities of machines" },
  routes: { add: sudiAdd, list: sudiList },
});

const sign = buildRouteMap<string, CliContext>({
  docs: { brief: "Sign EFI programs" },
  routes: { efi: signEfi },
});

const verify = buildRouteMap<string, CliContext>({
  docs: { brief: "Check who signed EFI programs" },
  routes: { efi: verifyEfi },
});

export const app = application(
  "trust",
  {
    brief: "Keysets and projects: who may sign manifests",
    fullDescription: `A keyset holds the keys behind a family of devices: the CA whose certificate they carry, and the keys of
their firmware and TPM policies. A project is one product of that family: a uuid, and a key that signs its
manifests. EFI programs are signed and checked here, too. Keysets live in $MOS_KEYSETS, or in ~/.local/share/machine/trust/keys.

Start with:  trust keyset add NAME  and  trust project add NAME PROJECT`,
  },
  {
    ...{ keyset, project, sudi, sign, verify, "compute-pcr7": computePcr7, efivars },
    ...{ tpmPolicyGen, provision: provisionCommand, preinstall: preinstallCommand },
    ...{ initrdSetup: initrdSetupCommand, "extend-pcr7": extendPcr7Command },
  },
  // The published system's name for it.
  { computePCR7: "compute-pcr7" },
);
