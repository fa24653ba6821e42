// What every flow of the agent works with: places, policy and clock. Made once, at the edge.

import { defaultPlaces, type Places } from "../services/unit-names.ts";
import { type MonotonicClock, monotonicClock } from "../system/monotonic.ts";
import { type ServiceManager, systemd } from "../systemd/manager.ts";
import { defaultTpm, type TpmAddress } from "../tpm/address.ts";
import { builtInPolicy, type Policy } from "../trust/policy.ts";

/** Put in by the build, in seconds since 1970; absent when the sources run as they are. */
declare const MOS_BUILD_TIME: number | undefined;

/** Where the device's trust comes from. */
export interface TrustPlaces {
  /** Policy files; the first that is there holds. */
  readonly policies: readonly string[];
  readonly builtIn: Policy;
  /** Directory with what the initrd passed on: anchors, policy. */
  readonly initrd: string;
  /** efivarfs. */
  readonly efivars: string;
  readonly tpm: TpmAddress;
  /**
   * Where the initrd puts the device's own certificate, which it takes from the TPM: ours, then the published
   * system's. The first that is there holds.
   */
  readonly deviceCertificates: readonly string[];
  /** Where is written down what was measured at this start. */
  readonly measurements: {
    /** By the firmware, as the kernel passes it on. */
    readonly firmware: string;
    /** By systemd (systemd-pcrextend(8)). */
    readonly systemd: string;
  };
}

export interface AgentContext {
  readonly places: Places;
  /** Where systemd reads units that must not outlive a boot. */
  readonly unitDirectory: string;
  /** Where quadlet reads them (from podman 5.3 on). */
  readonly quadletDirectory: string;
  /** There when quadlet is none or too old for what mos writes (packaging/quadlet/quadlet-setup). */
  readonly withoutQuadlet: string;
  /** Where podman keeps the networks of root (netavark, containers.conf(5) `network_config_dir`). */
  readonly networkDirectory: string;
  readonly trust: TrustPlaces;
  readonly systemd: ServiceManager;
  readonly clock: MonotonicClock;
  /** Files that say how to fetch (fetch-settings.ts); the first that is there holds. */
  readonly fetchSettings: readonly string[];
  /** Files that say when and from where the device updates itself; the first that is there holds. */
  readonly updateSettings: readonly string[];
  /** machine-id(5). */
  readonly machineId: string;
  readonly buildTime: Date;
  readonly boot: BootPlaces;
  readonly recovery: RecoveryPlaces;
}

/** Where a release may come from when nothing on the device verifies. */
interface RecoveryPlaces {
  /** The medium's file system, when it is attached. */
  readonly device: string;
  /** Where systemd mounts it (units/run-mos-recovery.mount). */
  readonly directory: string;
  /** The OCI layout in the system's root (mosb image build). */
  readonly factory: string;
}

/** What this system was started from. */
interface BootPlaces {
  /** Of the kernel that runs (proc(5)). */
  readonly commandLine: string;
  /** Where the EFI system partition may be mounted. */
  readonly esp: readonly string[];
}

const initrdDirectory = "/run/mos/initrd";

export function deviceContext(): AgentContext {
  return {
    places: defaultPlaces,
    unitDirectory: "/run/systemd/system",
    quadletDirectory: "/run/containers/systemd",
    withoutQuadlet: "/usr/lib/mos/without-quadlet",
    networkDirectory: "/etc/containers/networks",
    trust: {
      // What came with the signed UKI first, then what is on the verified root, then what this root may change.
      policies: [`${initrdDirectory}/policy.json`, "/usr/lib/mos/policy.json", "/etc/mos/policy.json"],
      builtIn: builtInPolicy,
      initrd: initrdDirectory,
      efivars: "/sys/firmware/efi/efivars",
      tpm: defaultTpm,
      deviceCertificates: ["/run/mos/secure/server.crt", "/factory/secure/server.crt"],
      measurements: {
        firmware: "/sys/kernel/security/tpm0/binary_bios_measurements",
        systemd: "/run/log/systemd/tpm2-measure.log",
      },
    },
    systemd,
    clock: monotonicClock,
    // What this root may change first: mirrors are not trusted, only signatures are.
    fetchSettings: ["/etc/mos/fetch.json", "/usr/lib/mos/fetch.json"],
    updateSettings: ["/etc/mos/update.json", "/usr/lib/mos/update.json"],
    machineId: "/etc/machine-id",
    boot: { commandLine: "/proc/cmdline", esp: ["/efi", "/boot/efi", "/boot"] },
    recovery: {
      device: "/dev/disk/by-label/MOS-RECOVER",
      directory: "/run/mos/recovery",
      factory: "/usr/share/mos/factory",
    },
    buildTime: new Date(typeof MOS_BUILD_TIME === "number" ? MOS_BUILD_TIME * 1000 : 0),
  };
}

/** Milliseconds since this process began; the first part of a boot's cost is the runtime's own start. */
export function processAgeMs(): number {
  return performance.now();
}
