// Which signed sets are for this device: the machine that it is and the classes that it belongs to. Only what decides
// about trust anyway is asked: the device's certificate, which the initrd takes from the TPM, and the policy. Nothing that
// is on the state's disk counts, nor the machine id, which anybody can give a device who can change its disk.
import { MosError } from "../errors/mos-error.ts";
import type { LevelIdentity } from "../signed-sets/audience.ts";
import { deviceIdentity } from "../trust/device-identity.ts";
import { loadPolicy } from "../trust/policy.ts";
import type { AgentContext } from "./context.ts";

/**
 * @throws MosError `set-undecided` when certificate and policy name different machines; `policy-invalid`,
 * `product-mismatch` when one of them cannot be used
 */
export async function levelIdentity({ trust }: Pick<AgentContext, "trust">): Promise<LevelIdentity> {
  const [{ machine: named, classes, source }, certified] = await Promise.all([
    loadPolicy(trust.policies, trust.builtIn),
    deviceIdentity(trust.deviceCertificates),
  ]);
  if (certified !== undefined && named !== undefined && certified.machine !== named) {
    throw new MosError(
      "set-undecided",
      `cannot tell which machine this is: ${certified.source} says ${certified.machine}, the policy ${named}`,
      { about: source },
    );
  }
  return { machine: certified?.machine ?? named, classes };
}
