// What `mosctl status` and GET /v1/status answer. Computed each time from what is on disk and what systemd and
// the kernel report; nothing in it is remembered.
import type { ErrorDocument } from "../errors/mos-error.ts";
import type { FilesRecord } from "./files-record.ts";
import type { OperationInfo } from "./running-operation.ts";
import type { InitrdRecord, ServiceRecord } from "./stage-record.ts";

/** One word for a service, in the order from good to bad. */
export type ServiceState =
  | "running"
  | "mounted"
  | "starting"
  | "stopping"
  | "stopped"
  | "restarting"
  | "failed"
  | "refused";

export interface LayerStatus {
  readonly digest: string;
  readonly rootHash: string;
  /** `verified`: open, no bad block seen so far; `corrupt`: dm-verity found one; `closed`: not open. */
  readonly state: "verified" | "corrupt" | "closed";
}

export interface ServiceStatus {
  readonly name: string;
  readonly version: string;
  readonly type: "container" | "fs-only" | "hostfs";
  readonly state: ServiceState;
  readonly unit: string;
  /** RFC 3339; when it came into its state. */
  readonly since?: string;
  readonly restarts: number;
  readonly nsgroup: string;
  /** First and last host uid of its user namespace; absent when it runs under the host's own ids. */
  readonly ids?: { readonly first: number; readonly last: number };
  /** What /proc/PID/uid_map of the running service says, compared with `ids`. */
  readonly idsInEffect?: "as allocated" | "different";
  readonly network: string;
  readonly ports: readonly { readonly host: number; readonly container: number }[];
  readonly layers: readonly LayerStatus[];
  /** Names of its secrets. */
  readonly secrets: readonly string[];
  /** How it is less strict than services are by default, a sentence each. */
  readonly loosened?: readonly string[];
  /** Path of the root of a target that does not run. */
  readonly path?: string;
  readonly error?: ErrorDocument;
}

/** Whether the firmware starts signed programs only. What could not be read is `unverified`, never `enabled`. */
export interface SecureBootStatus {
  readonly state: "enabled" | "disabled" | "setup-mode" | "unverified";
  readonly why: string;
}

export interface TrustStatus {
  /** What was checked to come to this status: signature and chain now, content block by block when read. */
  readonly level: "signature";
  /** Where the policy is from. */
  readonly policy: string;
  /** How many different keys it asks for. */
  readonly threshold: number;
  readonly signers: readonly {
    readonly subject: string;
    readonly fingerprint: string;
    readonly algorithm: string;
    readonly expires: string;
    readonly anchor: string;
    readonly anchorSubject: string;
  }[];
  /** The device's product, and what says so; absent on a device that is bound to none. */
  readonly product?: { readonly name: string; readonly source: string };
  /** What remembers the lowest epoch. */
  readonly memory: "tpm" | "file";
  readonly lowestEpoch: number;
  /** Handovers and revocations that were accepted since the policy. */
  readonly records: number;
  readonly secureBoot: SecureBootStatus;
}

/** How this boot began, where its initrd has a stage of mos. */
export interface BootStatus {
  readonly initrd: Omit<InitrdRecord, "version" | "bootsOn">;
  /** What was left to the agent at its first start; absent before that. */
  readonly service?: ServiceRecord["outcome"];
  /** What became of signed files and sets in the initrd; absent where it had nothing to do with them. */
  readonly files?: Omit<FilesRecord, "version">;
}

/** A signed set in levels, as it is on this device. */
interface SetStatus {
  readonly name: string;
  readonly destination: string;
  /** Those that count on this device. */
  readonly levels: readonly {
    /** `everybody`, `class:NAME` or `machine:NAME`. */
    readonly level: string;
    readonly serial: number;
    readonly source: "image" | "kept";
    /** How many files come from it, and the first of them. */
    readonly files: number;
    readonly paths: readonly string[];
  }[];
  /** Why nothing can be said. */
  readonly error?: ErrorDocument;
}

export interface Status {
  readonly version: 1;
  /** `ok`: everything runs; `degraded`: something does not; `none`: nothing was applied; `refused`: not verified. */
  readonly health: "ok" | "starting" | "degraded" | "none" | "refused";
  readonly mosVersion: string;
  readonly generation?: {
    readonly number: number;
    readonly product: string;
    readonly manifestDigest: string;
    readonly reference: string;
    readonly acceptedAt: string;
    readonly release?: { readonly serial: number; readonly epoch: number; readonly expires?: string };
    readonly previous?: number;
    /** Digests of the manifests below a partial one, the oldest first. */
    readonly bases?: readonly string[];
  };
  readonly boot?: BootStatus;
  /** Signed sets in levels; absent where there are none. */
  readonly sets?: readonly SetStatus[];
  /** What the agent is doing to the device right now. */
  readonly operation?: OperationInfo;
  /** What the system was started from; absent where that is no root that mos can update. */
  readonly system?: {
    /** Of the root, or of its lowest layer. */
    readonly rootHash: string;
    /** Digest of that layer in the store; absent where the root is in a partition. */
    readonly hostfs?: string;
    /** All of its layers, the lowest first; absent where it is one. */
    readonly layers?: readonly { readonly digest: string; readonly rootHash: string }[];
  };
  /** The device has to be started anew for a new kernel and root to run. */
  readonly rebootNeeded?: true;
  /** Where nothing can be verified: what was tried to get a release that can, at the last attempt (RFC 3339). */
  readonly recovery?: {
    readonly at: string;
    readonly attempts: readonly { readonly what: string; readonly code: string; readonly message: string }[];
  };
  /** A generation is on trial, or the device is going back. */
  readonly transaction?: {
    readonly kind: "update" | "rollback";
    readonly from?: number;
    readonly to: number;
    /** `reboot`: it waits for the device to be started anew. */
    readonly phase: "reboot" | "trial" | "commit" | "revert";
    readonly triesLeft: number;
    readonly startedAt: string;
  };
  /** Manifests that were tried here and given up, the last one first. */
  readonly failures?: readonly {
    readonly manifestDigest: string;
    readonly generation: number;
    /** RFC 3339. */
    readonly at: string;
    readonly code: string;
    readonly message: string;
  }[];
  /** What was found damaged on the disk, and is done without; `layer-corrupt`: the root that runs. */
  readonly damage?: readonly ErrorDocument[];
  readonly trust?: TrustStatus;
  readonly services: readonly ServiceStatus[];
  /** What is on the device but does not run on it: what it boots from. */
  readonly bootTargets: readonly {
    readonly name: string;
    readonly version: string;
    readonly digest: string;
    /** `running`: the system was started from it; `stored`: it was not. */
    readonly state: "running" | "stored";
  }[];
  readonly error?: ErrorDocument;
}
