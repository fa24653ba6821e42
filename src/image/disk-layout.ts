// What is where on a disk that mosb makes: partitions, their types and names, and the files of the EFI system
// partition. One place for whoever makes a disk, boots from it, updates it or installs it. Types are those of the
// UAPI group's "Discoverable Partitions Specification", x86-64; names of boot files those of its "Boot Loader
// Specification" and of systemd's "Automatic Boot Assessment".

/** A partition's kind: its type (GPT, lower case), its name there, and the label of its file system. */
interface PartitionKind {
  readonly type: string;
  readonly name: string;
  /** Of the file system in it, where that has one. */
  readonly label?: string;
}

export const partitions = {
  /** FAT32: boot loader and unified kernel images. */
  esp: { type: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", name: "esp", label: "ESP" },
  /** EROFS, the host's root. Its uuid is the first half of the root hash. */
  root: { type: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", name: "mos-root" },
  /** Its hash tree, with a superblock. Its uuid is the second half of the root hash. */
  rootVerity: { type: "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5", name: "mos-root-verity" },
  /** ext4, everything that is kept: /var, and in it the store. */
  state: { type: "4d21b016-b534-45c2-a9fb-5c16e091fd2d", name: "mos-state", label: "mos-state" },
  swap: { type: "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", name: "mos-swap", label: "mos-swap" },
  /** Swap beside an encrypted state: of no type that is used as it is found (Linux filesystem data). */
  encryptedSwap: { type: "0fc63daf-8483-4772-8e79-3d69d8477de4", name: "mos-swap" },
} as const satisfies Record<string, PartitionKind>;

/** What firmware starts when nobody told it what to (UEFI 2.10, section 3.5.1.1, x86-64). */
export const removableLoader = "EFI/BOOT/BOOTX64.EFI";

/** Where systemd-boot finds unified kernel images. */
export const ukiDirectory = "EFI/Linux";

/** systemd-boot's settings (loader.conf(5)). */
export const loaderConfig = "loader/loader.conf";

/**
 * The name of a unified kernel image in {@link ukiDirectory}.
 * @param tries how often it may be started before it counts as bad; undefined for one that is known to be good
 */
export function ukiFileName(imageId: string, version: string, tries: number | undefined): string {
  return `${imageId}_${version}${tries === undefined ? "" : `+${tries}`}.efi`;
}

/** Partition uuids by which root and hash tree belong to a root hash of 64 hex digits. */
export function rootPartitionUuids(rootHash: string): { readonly root: string; readonly verity: string } {
  return { root: uuidOf(rootHash.slice(0, 32)), verity: uuidOf(rootHash.slice(32, 64)) };
}

/** A uuid of 32 hex digits. */
function uuidOf(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** What the kernel and the initrd are told so that they find and verify a root in a partition. */
export function rootCommandLine(rootHash: string): string {
  return `roothash=${rootHash} root=/dev/mapper/root ro rootfstype=erofs systemd.volatile=overlay`;
}

/**
 * A system that does not come up starts anew, and the loader counts: after a panic of the kernel (seconds), and when
 * PID 1 has crashed.
 */
export const retryCommandLine = "panic=10 systemd.crash_reboot=yes";

/** The swap that {@link crypttab} opens. */
const encryptedSwapName = "mos-swap";

/**
 * /etc/crypttab of a host that encrypts its state (crypttab(5)): what is in memory is in swap too, so that is encrypted
 * with a key of each start, which nobody keeps.
 */
export function crypttab(): string {
  const options = "swap,cipher=aes-xts-plain64,size=512,nofail";
  return `${encryptedSwapName} PARTLABEL=${partitions.encryptedSwap.name} /dev/urandom ${options}\n`;
}

/** Where the encrypted state is when it is open (initrd-hooks/dracut/61mos-encrypt/mos-unlock.sh). */
export const openState = "/dev/mapper/mos-state";

/** What the initrd is told so that it opens the encrypted state, and takes nothing else for it. */
export const encryptedCommandLine = `mos.encrypted=tpm2 mos.state=${openState}`;

/** What a partition for state begins with that is to be encrypted at the first start (mos-unlock.sh). */
export const encryptionMark = "mos: to be encrypted at the first start";

/** /etc/fstab of the host: state, and the EFI system partition only when somebody looks at it. */
export function fstab({
  swap: hasSwap,
  encrypted,
}: {
  readonly swap: boolean;
  readonly encrypted: boolean;
}): string {
  const { esp, state, swap } = partitions;
  const swapSource = encrypted ? `/dev/mapper/${encryptedSwapName}` : `LABEL=${swap.label}`;
  const lines = [
    `${encrypted ? openState : `LABEL=${state.label}`} /var ext4 defaults,x-systemd.device-timeout=60s 0 2`,
    `PARTLABEL=${esp.name} ${espMount} vfat umask=0077,nofail,x-systemd.automount,x-systemd.idle-timeout=60s 0 0`,
    ...(hasSwap ? [`${swapSource} none swap nofail 0 0`] : []),
  ];
  return `${lines.join("\n")}\n`;
}

/** On an installer's medium, beside root and hash tree of the system that it installs. */
export const installerPartitions = {
  /** What starts the installer. */
  esp: { type: partitions.esp.type, name: "mos-install-boot", label: "INSTALL" },
  /** The EFI system partition of the system that is installed (type: Linux filesystem data). */
  payload: { type: "0fc63daf-8483-4772-8e79-3d69d8477de4", name: "mos-install-esp" },
} as const satisfies Record<string, PartitionKind>;

/** What the kernel of an installer is told: to install onto this disk (or `auto`), and nothing of /etc/fstab. */
export const installArguments = {
  disk: "mos.install",
  /** `yes`: a disk that is not empty is written over. */
  wipe: "mos.install.wipe",
  /** MiB of swap; none without it. */
  swap: "mos.install.swap",
  /** Where the identity comes from that the machine's TPM gets: `medium` or `device`; none without it. */
  provision: "mos.install.provision",
  /** `tpm2`: what is installed encrypts its state at its first start. */
  encrypt: "mos.install.encrypt",
} as const;

/** The target of units/ that an installer starts instead of the usual one. */
export const installTarget = "mos-install.target";

/** Where the EFI system partition is mounted. */
export const espMount = "/efi";

/** In the host's root: an OCI layout with the release that comes with the image, under {@link factoryTag}. */
export const factoryLayout = "/usr/share/mos/factory";
export const factoryTag = "factory";
