// The firmware's and the TPM's part in trust. Loaded only where a policy or the device's state asks for them.
import { epochPath } from "../generation/places.ts";
import type { FirmwareAnchors } from "../trust/anchors.ts";
import { fileMemory } from "../trust/file-memory.ts";
import type { TrustMemory } from "../trust/memory.ts";
import type { Policy } from "../trust/policy.ts";
import type { AgentContext, TrustPlaces } from "./context.ts";
import type { SecureBootStatus } from "./status-model.ts";

export function firmwareOf(_places: TrustPlaces): FirmwareAnchors {
  return { efiDb: async () => undefined, tpmNv: async () => undefined };
}

export async function trustMemory({ places }: AgentContext, _policy: Policy): Promise<TrustMemory> {
  return fileMemory(epochPath(places));
}

export async function secureBootStatus(_places: TrustPlaces): Promise<SecureBootStatus> {
  return { state: "unverified", why: "not read" };
}
