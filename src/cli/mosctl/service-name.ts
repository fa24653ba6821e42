// The name of a service, as an argument, and what systemd knows of it.
import { MosError } from "../../errors/mos-error.ts";
import { serviceUnit } from "../../services/unit-names.ts";
import { systemd } from "../../systemd/manager.ts";

export const serviceArgument = {
  brief: "the service, as mosctl services calls it",
  placeholder: "SERVICE",
  // What a manifest allows (manifest/names.ts), and so nothing that another program could take for an option.
  parse: (input: string): string => {
    if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/.test(input) && !input.includes("..")) return input;
    throw new SyntaxError("a service's name has letters, digits, '_', '.' and '-' only");
  },
} as const;

/**
 * The unit of a service that is on this device.
 * @throws MosError `service-unknown`, `systemd-failed`
 */
export async function knownUnit(service: string): Promise<string> {
  const unit = serviceUnit(service);
  const [shown] = await systemd.showUnits([unit], ["LoadState"]);
  if (shown?.["LoadState"] === "loaded") return unit;
  throw new MosError("service-unknown", `there is no service ${service} on this device`, { about: service });
}
