// How a service runs, beyond its image, network and volumes: limits, hardening, order, life, overrides of its image,
// configuration files. The same fields in both forms of the manifest, all optional; left out means the strict default.
import * as z from "zod";
import { isPlainAddress } from "./address.ts";
import { imageSchema, programSchema } from "./image-schema.ts";
import { containerPathSchema, nameSchema } from "./names.ts";
import { importQuantities, installQuantities, type Quantities } from "./quantity-schema.ts";

/** Every capability that Linux has (capabilities(7), as of 6.12), without `CAP_`. */
const capabilityNames = [
  ...["AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN"],
  ...["DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE"],
  ...["LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE"],
  ...["NET_BROADCAST", "NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_ADMIN"],
  ...["SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO"],
  ...["SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "SYSLOG", "WAKE_ALARM"],
] as const;
const capabilitiesSchema = z.array(z.enum(capabilityNames)).min(1).max(capabilityNames.length);

function limitsSchema({ size }: Quantities) {
  return z.strictObject({
    memory: size
      .optional()
      .describe(
        "Most memory, MiB or a number with M, G or T, with no swap beyond it; above it the kernel ends processes of the service, and only its own. Its scratch counts.",
      ),
    cpus: z
      .number()
      .min(0.01, "must be at least 0.01")
      .max(1024, "must be at most 1024")
      .multipleOf(0.01, "must have at most two digits after the point")
      .optional()
      .describe("Most processor time, in processors: `0.5` is half of one."),
    pids: z
      .int()
      .min(1)
      .max(2 ** 22)
      .optional()
      .describe("Most processes and threads; 2048 when left out."),
    io_weight: z
      .int()
      .min(1)
      .max(10_000)
      .optional()
      .describe("Share of disk time against other services, where the kernel can do it; 100 is usual."),
    io_read: size
      .optional()
      .describe("Most that it reads from the device's own storage each second, MiB or with M, G or T."),
    io_write: size
      .optional()
      .describe("Most that it writes to the device's own storage, its volumes, each second."),
    open_files: z
      .int()
      .min(16)
      .max(2 ** 20)
      .optional()
      .describe("Most open files of each process, soft and hard limit."),
    scratch: size
      .optional()
      .describe("Most that the service can write outside its volumes, in memory; 64M when left out."),
  });
}

const securitySchema = z.strictObject({
  capabilities: z
    .strictObject({
      add: capabilitiesSchema.optional().describe("Without `CAP_`, such as `NET_RAW`. A loosening."),
      drop: capabilitiesSchema.optional().describe("Of those that services have by default."),
    })
    .optional()
    .describe(
      "By default a service may have CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, NET_BIND_SERVICE, SETGID and SETUID.",
    ),
  seccomp: z
    .enum(["default", "unconfined"])
    .optional()
    .describe("`default`: podman's filter of system calls. `unconfined`: none; a loosening."),
  no_new_privileges: z
    .boolean()
    .optional()
    .describe("true when left out: setuid programs of the image have no effect. false is a loosening."),
  read_only: z
    .boolean()
    .optional()
    .describe(
      "true: the root cannot be written to; /run, /tmp, /var/tmp and /dev/shm are in memory, volumes stay writable.",
    ),
  read_only_paths: z
    // quadlet makes a list of mounts of it that are waited for, which white space would make longer.
    .array(containerPathSchema.refine((path) => !/\s/.test(path), "must not have white space"))
    .min(1)
    .max(64)
    .optional()
    .describe(
      "Files and directories of the root that stay read-only although the rest of it can be written to, each by its absolute path. They have to be in the image, without a symlink on the way: else the service does not start. What podman mounts itself (/etc/hosts, /etc/hostname, /etc/resolv.conf) is not of the root.",
    ),
  devices: z
    .array(
      z.strictObject({
        path: z
          .string()
          .max(255)
          .regex(
            /^\/dev\/[A-Za-z0-9_][A-Za-z0-9_.-]*(\/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$/,
            "must be a path below /dev of letters, digits, '_', '.' and '-'",
          )
          .describe("The same inside and outside. The service does not start while it is not there."),
        access: z
          .enum(["r", "w", "rw"])
          .optional()
          .describe(
            "`r`, `w` or `rw`; `rw` when left out. The owner's permissions on the device hold as well.",
          ),
      }),
    )
    .min(1)
    .max(64)
    .optional()
    .describe("Devices of the machine that the service may use. A loosening."),
});

/** A week; a job that takes longer is a service. */
const maxDeadline = 7 * 24 * 3600;

function runSchema({ duration }: Quantities) {
  return z.strictObject({
    mode: z
      .enum(["service", "once", "ephemeral"])
      .optional()
      .describe(
        "`service` (when left out) runs until it is stopped. `once` runs to its end at every boot and counts as up when it has ended well. `ephemeral` is the machine's one job: when it ends, well or not, the machine powers off.",
      ),
    deadline: duration(1, maxDeadline)
      .optional()
      .describe(
        "Of an `ephemeral` job, which must have one: then the machine powers off, whatever the job does.",
      ),
    restart: z
      .enum(["on-failure", "always", "never"])
      .optional()
      .describe("`on-failure` when left out; `never` for an `ephemeral` job."),
    start_timeout: duration(1)
      .optional()
      .describe(
        "In which the service has to be up, or a `once` to have ended; 120s, or what its health needs.",
      ),
    stop_timeout: duration(1, 60)
      .optional()
      .describe("Between the stop signal and the end by force; 10s when left out, at most 60s."),
    watchdog: duration(1)
      .optional()
      .describe(
        "The program itself says by sd_notify(3) that it is up (`READY=1`) and, again and again, that it is alive (`WATCHDOG=1`): when it has not said so for this long it is ended by force, and begun again unless `restart` is `never`. It finds the time in $WATCHDOG_USEC.",
      ),
    pre_stop: programSchema
      .optional()
      .describe("Program in the service's own root that is run before the stop signal, at most 15 s long."),
  });
}

/** Characters; a file that is larger belongs into the image or a volume. */
const maxFileText = 64 * 1024;
const maxFiles = 32;

const filesSchema = z
  .array(
    z.strictObject({
      dest: containerPathSchema.describe("Absolute path in the container."),
      content: z
        .string()
        .max(maxFileText, `must not be longer than ${maxFileText} characters`)
        .refine((text) => text.isWellFormed(), "must be text")
        .describe(
          "The whole file, as UTF-8. Everybody who has the manifest can read it: no place for secrets.",
        ),
      executable: z.boolean().optional().describe("true: mode 0555 instead of 0444."),
    }),
  )
  .min(1)
  .max(maxFiles)
  .optional()
  .describe("Small configuration files, mounted read-only and owned by the root of the service's namespace.");

const dependencySchema = z.strictObject({
  service: nameSchema.describe("Another service of the manifest."),
  condition: z
    .enum(["started", "healthy", "completed"])
    .describe(
      "`started`: systemd says that it is up. `healthy`: its `health.exec` has succeeded. `completed`: it is of mode `once` and has ended well.",
    ),
});
export type Dependency = z.output<typeof dependencySchema>;
const maxDependencies = 64;

/** Files of others, read-only. */
const mountsSchema = z
  .array(
    z.strictObject({
      service: nameSchema.describe("A target of type `fs-only`, in the same nsgroup."),
      dest: containerPathSchema.describe("Absolute path in the container."),
    }),
  )
  .min(1)
  .max(64)
  .optional()
  .describe("Roots of `fs-only` targets that the service sees, read-only; it is restarted when one changes.");

function serviceFields(quantities: Quantities) {
  return {
    image: imageSchema
      .optional()
      .describe("What runs, and as whom: of a `rootfs:` source, or over what its image says."),
    limits: limitsSchema(quantities).optional().describe("What the service can use up; `container` only."),
    security: securitySchema
      .optional()
      .describe("What the service may do; strict when left out. `container` only."),
    run: runSchema(quantities).optional().describe("How it begins, ends and begins again; `container` only."),
    files: filesSchema,
    mounts: mountsSchema,
  };
}

/** Fields of a target in install.json. */
export const installServiceFields = {
  ...serviceFields(installQuantities),
  depends_on: z.array(dependencySchema).min(1).max(maxDependencies).optional(),
};

/** Fields of a target in YAML. */
export const importServiceFields = {
  ...serviceFields(importQuantities),
  depends_on: z
    .array(
      z.union([
        nameSchema.transform((service): Dependency => ({ service, condition: "started" })),
        dependencySchema,
      ]),
    )
    .min(1)
    .max(maxDependencies)
    .optional()
    .describe(
      "Services that have to be there before this one starts, as a name or with a condition. When one of them is stopped or restarted by hand, so is this one.",
    ),
};

/** Fields of a service's network that every form has. */
export const networkFields = {
  dns: z
    .array(z.string().refine((text) => isPlainAddress(text), "must be an IPv4 or IPv6 address"))
    .min(1)
    .max(3, "must be at most 3, as resolv.conf(5) reads")
    .optional()
    .describe("Name servers, instead of those of the device; `simple` only."),
  hosts: z
    .array(nameSchema)
    .min(1)
    .max(256)
    .optional()
    .describe(
      "Services that this one finds by their name, IPv4 and IPv6 (in its /etc/hosts): on the same network, which is that of all services without a fixed address, or of those with addresses of one subnet. Needs no name server.",
    ),
};

/** Fields of a published port that every form has. */
export const portFields = {
  protocol: z.enum(["tcp", "udp"]).optional().describe("`tcp` when left out."),
  address: z
    .string()
    .refine((text) => isPlainAddress(text), "must be an IPv4 or IPv6 address")
    .optional()
    .describe("Address of the device on which it is published; all of them when left out."),
  count: z
    .int()
    .min(1)
    .max(1024)
    .optional()
    .describe("So many ports, one after the other, from `host` and from `container` on; 1 when left out."),
};

/** The optional fields of a target that {@link installServiceFields} has, in the order in which they are encoded. */
export const serviceKeys = ["image", "limits", "security", "run", "files", "mounts", "depends_on"] as const;
