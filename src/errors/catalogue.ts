// The one table of everything that can go wrong. docs/reference/errors.md is generated from it.
// A code never changes its meaning; the exit code is what a script sees.

/** Exit codes of every mos command (0 is success). */
export const exitCodes = {
  failure: 1,
  usage: 2,
  input: 3,
  refused: 4,
  source: 5,
  state: 6,
  busy: 7,
  unhealthy: 8,
} as const;

interface Entry {
  readonly exit: (typeof exitCodes)[keyof typeof exitCodes];
  /** One sentence for the reference page. */
  readonly means: string;
  /** What to do when the thrower knows nothing better. */
  readonly hint: string;
}

const { failure, usage, input, refused, source, state, busy, unhealthy } = exitCodes;

export const catalogue = {
  // How a command was called.
  "nothing-running": {
    exit: usage,
    means: "There is no update or other operation that could be cancelled.",
    hint: "mosctl status shows what runs.",
  },
  "service-unknown": {
    exit: usage,
    means: "No service of that name runs or could run on this device.",
    hint: "mosctl services lists them.",
  },
  "recovery-failed": {
    exit: source,
    means: "Nothing on the device can be verified, and none of the releases that it found was accepted.",
    hint: "Attach a medium with the label MOS-RECOVER and a release at mos:recovery; docs/how-to/recover.md.",
  },
  "service-stopped": {
    exit: unhealthy,
    means: "The service does not run, so nothing can be done inside of it.",
    hint: "mosctl start SERVICE; mosctl services says how it is.",
  },
  "volume-unknown": {
    exit: usage,
    means: "No volume of that label is on this device.",
    hint: "mosctl volume list lists them.",
  },
  "volume-in-use": {
    exit: busy,
    means: "A service that runs uses the volume, or somebody exports or imports it.",
    hint: "--stop stops the services meanwhile and starts them again.",
  },
  usage: { exit: usage, means: "The command line is wrong.", hint: "Run the command with --help." },

  // Input that a person wrote.
  "conversion-refused": {
    exit: input,
    means: "A compose file or quadlet cannot be read, or has nothing that a manifest could say.",
    hint: "mosb manifest convert takes a compose file (.yaml, .yml) or quadlets (.container).",
  },
  "manifest-invalid": {
    exit: input,
    means: "A manifest does not fit the schema.",
    hint: "Correct the lines named above; docs/reference/manifest.md lists every field.",
  },
  "reference-invalid": {
    exit: input,
    means: "An image or manifest reference cannot be parsed.",
    hint: "Use HOST[:PORT]/PATH:TAG, http://HOST:PORT/PATH:TAG, oci:DIR:TAG or oci-archive:FILE:TAG.",
  },
  "source-invalid": {
    exit: input,
    means: "The source of a target cannot be used as it is.",
    hint: "Sources are docker://HOST/PATH:TAG, oci:DIR:TAG, oci-archive:FILE:TAG, rootfs:DIR and rootfs:FILE.tar.",
  },
  "name-invalid": {
    exit: input,
    means: "A name has characters that names may not have, or a wrong length.",
    hint: "Use lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit.",
  },
  "file-unreadable": {
    exit: input,
    means: "A file cannot be read.",
    hint: "Check the path and its permissions.",
  },
  "update-settings-invalid": {
    exit: input,
    means: "What says when and from where a device updates itself cannot be used.",
    hint: "Correct the place named above; docs/reference/update.md lists every field.",
  },
  "fetch-settings-invalid": {
    exit: input,
    means: "What says how a device fetches (mirrors, proxy, limits) cannot be used.",
    hint: "Correct the place named above; docs/reference/fetch.md lists every field.",
  },
  "keyset-unknown": { exit: input, means: "There is no keyset of this name.", hint: "trust keyset list" },
  "keyset-exists": {
    exit: input,
    means: "A keyset of this name is already there.",
    hint: "Keys are never overwritten: choose another name.",
  },
  "project-unknown": {
    exit: input,
    means: "The keyset has no project of this name.",
    hint: "trust project list KEYSET",
  },
  "project-exists": {
    exit: input,
    means: "The keyset already has a project of this name.",
    hint: "Keys are never overwritten: choose another name.",
  },
  "device-exists": {
    exit: input,
    means: "The project already has an identity for this machine.",
    hint: "trust sudi list KEYSET PROJECT; keys are never overwritten.",
  },
  "key-invalid": {
    exit: input,
    means: "A private key cannot be used.",
    hint: "Keys are PKCS#8 PEM, RSA (2048 bits or more) or EC P-256.",
  },
  "key-unknown": {
    exit: input,
    means: "The keyset has no key, or the key no file, of this name.",
    hint: "trust keyset show KEYSET",
  },
  "output-exists": {
    exit: input,
    means: "The file to write is already there, with other content.",
    hint: "Choose another name, or remove it first.",
  },
  "initrd-unusable": {
    exit: input,
    means: "An initrd cannot be part of a unified kernel image.",
    hint: "Compress it with zstd, or not at all.",
  },
  "image-description-invalid": {
    exit: input,
    means: "What says how an OS image is to be built does not fit the schema.",
    hint: "Correct the lines named above; docs/reference/image.md lists every field.",
  },
  "image-root-unusable": {
    exit: input,
    means: "A root file system lacks what an OS image needs, such as a kernel or dracut.",
    hint: "docs/how-to/image.md says what has to be in it.",
  },
  "image-lock-mismatch": {
    exit: refused,
    means: "An OS image would be built from other inputs than its lock says.",
    hint: "If they were to change: mosb image build --update-lock, and keep the new lock.",
  },
  "program-unresolved": {
    exit: input,
    means:
      "A program could not start in the root that it is in: it, its interpreter or a library is missing there.",
    hint: "Install in that root what is missing. Libraries of another root, or laid over from another distribution, do not help.",
  },
  "program-malformed": {
    exit: input,
    means: "A program, a library or the loader's cache is not well-formed.",
    hint: "Install the file again, from a source that can be checked.",
  },
  "secret-invalid": {
    exit: input,
    means: "A secret cannot be encrypted for a manifest.",
    hint: "A secret has 1 to 65536 bytes: a key, a password, a certificate chain.",
  },
  "key-secret": {
    exit: input,
    means:
      "A private key was asked for; mos never prints one, so that none ends in a log or a terminal's history.",
    hint: "trust keyset show KEYSET KEY privkey.pem --path prints where it is.",
  },

  // Signed files and sets of them (validator).
  "signed-source-unusable": {
    exit: input,
    means: "What is to be signed, validated or installed is not there, or is no file, link or directory.",
    hint: "Name files that are there; directories need --recursive.",
  },
  "signed-source-missing": {
    exit: input,
    means: "Nothing is where signed files are to be installed from.",
    hint: "On a first boot it may come later: systemctl restart mos-validator installs what is there then.",
  },
  "signed-config-invalid": {
    exit: input,
    means: "A configuration of validator is missing, cannot be read, or says what was probably not meant.",
    hint: "docs/how-to/validator.md lists what a configuration may say.",
  },
  "signed-key-invalid": {
    exit: input,
    means: "A key for signed files is missing or cannot be used.",
    hint: "Keys are Ed25519 in PEM: openssl genpkey -algorithm ed25519 -out secret.pem; openssl pkey -in secret.pem -pubout -out public.pem",
  },
  "signed-name-invalid": {
    exit: input,
    means: "A file has no name that it can be signed under: it is outside of what names are relative to.",
    hint: "--relative-to names a directory that the file is in.",
  },
  "signed-file-unsigned": {
    exit: refused,
    means: "A file has no signature, or a signature has no file.",
    hint: "validator sign --key=FILE makes signatures.",
  },
  "signed-file-invalid": {
    exit: refused,
    means: "The signature of a file does not hold: the file, its name or its type is another, or the key.",
    hint: "Get the file and its signature again from whoever signed them.",
  },
  "signed-link-refused": {
    exit: refused,
    means: "A signed link leads to what is not signed along with it.",
    hint: "Links have relative targets among the files that are installed with them.",
  },
  "signed-destination-unsafe": {
    exit: refused,
    means:
      "What is at the destination cannot be written to safely: a link, another kind of file, or other content.",
    hint: "Look at the path named above; --force replaces files, and nothing else.",
  },
  "set-invalid": {
    exit: refused,
    means: "A signed set's list of contents is no such list.",
    hint: "mosb set sign makes one.",
  },
  "set-mixed": {
    exit: refused,
    means:
      "The files of a signed set are not those of its list: one is missing, another, or more than listed.",
    hint: "Get the whole set again; parts of different releases do not fit together.",
  },
  "set-older": {
    exit: refused,
    means: "A signed set is older than what is installed, or another one of the same serial.",
    hint: "Sign the set again with a higher serial; going back needs a new signature too.",
  },
  "set-conflict": {
    exit: refused,
    means: "A signed set would replace what does not belong to it.",
    hint: "Remove the file, or take it over with --force.",
  },
  "set-undecided": {
    exit: refused,
    means:
      "A signed set is for devices of a class or for one machine, and nothing that is trusted says what this device is.",
    hint: "The policy names the device's classes; its certificate, or else the policy, the machine.",
  },
  "app-invalid": {
    exit: input,
    means: "An app cannot be made of what was given for it.",
    hint: "docs/how-to/apps.md says what an app is made of.",
  },
  "app-unknown": {
    exit: input,
    means: "No app of this name is installed.",
    hint: "mosctl app list shows what is installed.",
  },
  "app-failed-before": {
    exit: refused,
    means: "A version of an app was tried on this device before and did not run.",
    hint: "Publish a corrected one; mosctl app install FILE tries this one again.",
  },
  "app-not-kept": {
    exit: state,
    means: "The version of an app before this one is not on the device any more, or not all of it.",
    hint: "Install it from its bundle, signed anew with a higher serial.",
  },
  "set-unhealthy": {
    exit: unhealthy,
    means: "What a signed set brought did not run, and the set before is back.",
    hint: "journalctl -u UNIT says more; correct the set, and sign it with a higher serial.",
  },
  "archive-refused": {
    exit: refused,
    means: "An archive has entries that would lead out of it, or more than it may have.",
    hint: "Archives have files, directories and links inside, each once.",
  },

  // Verification refused. Nothing on the device has changed.
  "anchor-missing": {
    exit: refused,
    means: "No trust anchor was found, so nothing can be verified.",
    hint: "Put the manifest CA where the policy looks for it, or name it with --ca FILE.",
  },
  "anchor-invalid": {
    exit: refused,
    means: "A trust anchor is there but cannot be used.",
    hint: "An anchor is a PEM file of CA certificates.",
  },
  "certificate-missing": {
    exit: refused,
    means: "The manifest has no signing certificate attached.",
    hint: "Publish it again with mosb manifest publish.",
  },
  "certificate-malformed": {
    exit: refused,
    means: "A certificate is not well-formed X.509.",
    hint: "The artifact was damaged or altered: publish it again.",
  },
  "certificate-expired": {
    exit: refused,
    means: "A certificate of the chain is past its notAfter date.",
    hint: "Sign the manifest with a current certificate; check the clock named above.",
  },
  "certificate-not-yet-valid": {
    exit: refused,
    means: "A certificate of the chain is before its notBefore date.",
    hint: "Check the clock named above.",
  },
  "chain-untrusted": {
    exit: refused,
    means: "The signing certificate does not lead to a trust anchor.",
    hint: "The manifest was signed under another CA than this device trusts.",
  },
  "chain-not-ca": {
    exit: refused,
    means: "A certificate that is not a CA was used to issue another one.",
    hint: "Only CA certificates may issue: this chain was not made by a proper keyset.",
  },
  "chain-constraint": {
    exit: refused,
    means: "A certificate is used in a way its extensions forbid.",
    hint: "The signing certificate needs digitalSignature and codeSigning; its issuers keyCertSign.",
  },
  "signature-missing": {
    exit: refused,
    means: "The manifest has no signature attached.",
    hint: "Publish it again with mosb manifest publish.",
  },
  "signature-invalid": {
    exit: refused,
    means: "The signature does not fit the manifest and its certificate.",
    hint: "The manifest or its signature was altered, or another key signed it.",
  },
  "algorithm-refused": {
    exit: refused,
    means: "A key or signature uses an algorithm that mos does not accept.",
    hint: "Use RSA of 2048 to 8192 bits or EC P-256, with SHA-256.",
  },
  "certificate-revoked": {
    exit: refused,
    means: "A certificate of the chain, or its key, was revoked by the policy or by an accepted release.",
    hint: "Sign the manifest with another key.",
  },
  "signatures-too-few": {
    exit: refused,
    means: "Fewer signers vouch for the manifest than the policy asks for.",
    hint: "Let the missing signers add theirs: mosb manifest sign. Several signatures of one key count once.",
  },
  "policy-invalid": {
    exit: refused,
    means: "The device's trust policy is there but cannot be used, so nothing is trusted.",
    hint: "docs/reference/policy.md lists every field.",
  },
  "product-mismatch": {
    exit: refused,
    means: "The manifest, its signing certificate and the device are not of one product.",
    hint: "Publish the manifest with the project of this device's product.",
  },
  "release-older": {
    exit: refused,
    means: "The manifest is an older release than the one that runs.",
    hint: "mosctl update --allow-older REF goes back on purpose.",
  },
  "release-epoch-low": {
    exit: refused,
    means: "The manifest is of an epoch that this device has left for ever.",
    hint: "Publish it again in the device's epoch, which mosctl status shows.",
  },
  "release-epoch-jump": {
    exit: refused,
    means: "The manifest's epoch is further ahead than one release may go.",
    hint: "Epochs are counted up one at a time; is the number a mistake?",
  },
  "release-expired": {
    exit: refused,
    means: "The manifest says that it is not to be applied any more.",
    hint: "Publish a newer release; check the clock named above.",
  },
  "handover-refused": {
    exit: refused,
    means: "A release names new trust anchors, or revokes keys, in a way that would lock the device out.",
    hint: "Sign the release under the old and under the new CA, with keys that it does not revoke.",
  },
  "signdata-missing": {
    exit: refused,
    means: "Nobody has approved what this machine has started: no policy is signed for its value of PCR 7.",
    hint: "Start a UKI of the device's keyset under Secure Boot, or add this value with trust keyset pcr7data.",
  },
  "signdata-invalid": {
    exit: refused,
    means: "The approved policies for PCR 7 are there but cannot be used.",
    hint: "Make them again with trust keyset pcr7data.",
  },
  "tpm-unprovisioned": {
    exit: refused,
    means: "The policy requires a TPM, and this one was not provisioned for this device.",
    hint: "trust provision, or put the device's own TPM back.",
  },
  "secret-unreadable": {
    exit: refused,
    means: "A secret of a service is not encrypted to this device, or cannot be opened with its TPM.",
    hint: "mosctl secret-key prints the key of this device: encrypt the secret to it too, and publish again.",
  },
  "tpm-provisioned": {
    exit: state,
    means: "The TPM was provisioned before.",
    hint: "trust provision --wipe clears it first; everything that only it knows is lost.",
  },
  "state-encrypted": {
    exit: state,
    means: "The device's state is encrypted to its TPM, and would be lost.",
    hint: "Provision before the state is made: with the installer (docs/how-to/image.md), or install the device anew.",
  },
  "state-not-encrypted": {
    exit: state,
    means: "The device's state is not encrypted.",
    hint: "Build its image with disk.encrypt: tpm2.",
  },
  "trust-rolled-back": {
    exit: refused,
    means: "The record of handovers and revocations on disk is not the one that the TPM remembers.",
    hint: "The disk was restored to an older copy, or comes from another device: install the device anew.",
  },
  "anchor-unverified": {
    exit: refused,
    means: "A trust anchor in the firmware cannot be relied on, because Secure Boot is off or unreadable.",
    hint: "Turn Secure Boot on in the firmware's setup.",
  },
  "manifest-refused": {
    exit: refused,
    means: "An install.json does not fit the schema or its rules, so nothing of it may run.",
    hint: "It was not made by this mosb: publish the manifest again.",
  },
  "install-refused": {
    exit: refused,
    means: "An installer does not write to this machine's disks; nothing was written.",
    hint: "Empty the disk, or build an installer that names it or may write over it (installer: in image.yaml).",
  },
  "artifact-type-wrong": {
    exit: refused,
    means: "The reference names an artifact that is not an install manifest.",
    hint: "Name the tag that mosb manifest publish printed.",
  },
  "digest-mismatch": {
    exit: refused,
    means: "Content does not have the digest that names it.",
    hint: "The source or the store is damaged or lying: fetch again, or from another source.",
  },
  "size-mismatch": {
    exit: refused,
    means: "Content does not have the size that was declared for it.",
    hint: "The source is damaged or lying: fetch again, or from another source.",
  },
  "document-invalid": {
    exit: refused,
    means: "A JSON document of an image or artifact is malformed.",
    hint: "The source is damaged or does not hold an OCI artifact.",
  },
  "layer-unsupported": {
    exit: refused,
    means: "A layer is of a kind that cannot be opened under dm-verity.",
    hint: "Layers are squashfs or EROFS with a verity tree: mosb manifest publish makes them of tar layers and of rootfs: sources.",
  },
  "verity-missing": {
    exit: refused,
    means: "A layer has no dm-verity root hash.",
    hint: "Build the image with verity data (stacker does by default), or publish a rootfs: source.",
  },
  "verity-mismatch": {
    exit: refused,
    means: "A layer's hash tree does not lead to the root hash that was signed for it.",
    hint: "The layer was built or signed wrongly: publish it again.",
  },

  "boot-pair-mismatch": {
    exit: refused,
    means: "A manifest's kernel image (bootkit) and root (hostfs) do not belong together.",
    hint: "Publish both targets from one mosb image build --targets.",
  },
  "image-unusable": {
    exit: refused,
    means: "An image's configuration cannot be turned into a service.",
    hint: "Give the image an entrypoint, and values without NUL characters.",
  },
  "partial-refused": {
    exit: refused,
    means: "A partial manifest does not go together with what runs.",
    hint: "Publish a complete manifest.",
  },
  "generation-failed-before": {
    exit: refused,
    means: "The manifest was tried on this device before and was not healthy.",
    hint: "Publish a corrected one; mosctl update --retry REF tries this one again.",
  },
  // Firmware: variables, signed images, measurements.
  "efi-variable-missing": {
    exit: refused,
    means: "The firmware has no EFI variable of this name, or none can be seen.",
    hint: "Was this system booted with UEFI, and is efivarfs mounted at /sys/firmware/efi/efivars?",
  },
  "efi-variable-invalid": {
    exit: refused,
    means: "An EFI variable is not what the specification says it is.",
    hint: "The firmware's keys are damaged, or somebody made a variable of this name: enrol the keys again.",
  },
  "efi-unreadable": {
    exit: refused,
    means: "An EFI variable is there and cannot be read, so nothing that rests on it is verified.",
    hint: "Reading it may need root; the kernel's message is in dmesg.",
  },
  "efi-image-malformed": {
    exit: refused,
    means: "A file is not an EFI program that has one reading only.",
    hint: "EFI programs are PE files whose sections follow each other without gaps: build the image again.",
  },
  "efi-signature-missing": {
    exit: refused,
    means: "An EFI program has no signature.",
    hint: "trust sign efi --key KEY --cert CERT FILE",
  },
  "efi-signature-invalid": {
    exit: refused,
    means: "No signature of an EFI program was made over it by the key that must vouch for it.",
    hint: "The program was altered after it was signed, or another key signed it.",
  },
  "event-log-invalid": {
    exit: refused,
    means: "A measured boot's event log is malformed.",
    hint: "It is read from /sys/kernel/security/tpm0/binary_bios_measurements as it is.",
  },

  // Where content comes from.
  "registry-unreachable": {
    exit: source,
    means: "The registry cannot be reached.",
    hint: "Check the address and the network.",
  },
  "registry-timeout": {
    exit: source,
    means: "The registry stopped answering, or answered too slowly.",
    hint: "Check the network and try again; what was fetched so far is kept.",
  },
  "registry-refused": {
    exit: source,
    means: "The registry answered with an error.",
    hint: "The answer above says why.",
  },
  "registry-unauthorized": {
    exit: source,
    means: "The registry wants credentials, or other ones.",
    hint: "Log in with skopeo login; on a device with --authfile /etc/mos/auth.json, which mosd reads.",
  },
  "registry-invalid": {
    exit: source,
    means: "The registry's answer makes no sense.",
    hint: "Is this address an OCI registry?",
  },
  "not-found": {
    exit: source,
    means: "The source has no content of this name or digest.",
    hint: "Check the name and the tag.",
  },
  "too-large": {
    exit: source,
    means: "The source sent more than the limit for this kind of content.",
    hint: "The source is lying or does not hold what the reference says.",
  },
  "proxy-refused": {
    exit: source,
    means: "The proxy is not there, or does not let a connection through.",
    hint: "Check proxy in fetch.json, or HTTPS_PROXY and NO_PROXY: docs/how-to/fetch.md.",
  },
  "archive-invalid": {
    exit: source,
    means: "A file is no tar archive of an OCI layout that mos reads.",
    hint: "Make it with: tar -cf FILE.tar -C DIR oci-layout index.json blobs",
  },
  "push-failed": {
    exit: source,
    means: "The registry did not take what was pushed.",
    hint: "The answer above says why. Nothing was tagged.",
  },

  // State on this machine.
  "esp-missing": {
    exit: state,
    means: "The EFI system partition is not mounted, or no kernel image of systemd-boot is in it.",
    hint: "It is looked for at /efi, /boot/efi and /boot.",
  },
  "esp-full": {
    exit: state,
    means: "The EFI system partition has no room for one more kernel image.",
    hint: "Remove what is not needed from EFI/Linux, or build images with a larger disk.esp.",
  },
  "no-space": {
    exit: state,
    means: "A filesystem is full.",
    hint: "Free some space on the filesystem named above.",
  },
  "state-invalid": {
    exit: state,
    means: "A state file is damaged.",
    hint: "mosctl update writes it anew; the store itself is checked by digest.",
  },
  "state-missing": {
    exit: state,
    means: "The file system with the device's state was not there in time, or cannot be mounted.",
    hint: "The agent looks again when the system is up. Check the disk, and its line in /etc/fstab or its partition type and label.",
  },
  "state-newer": {
    exit: state,
    means: "A state file has a version that this mos does not know: a newer one has written it.",
    hint: "That is not damage. Start the mos that wrote it again, or apply a manifest anew: mosctl update REF.",
  },
  "no-generation": {
    exit: state,
    means: "No manifest has been applied on this device yet.",
    hint: "mosctl update REF",
  },
  "generation-unknown": {
    exit: state,
    means: "There is no generation of this number on the device, or none before the current one.",
    hint: "mosctl history lists them.",
  },
  "idmap-exhausted": {
    exit: state,
    means: "There is no free uid range left for a new nsgroup.",
    hint: "Fewer nsgroups, or a larger range for mos.",
  },
  "io-failed": {
    exit: state,
    means: "Reading or writing failed.",
    hint: "The system's own message is above.",
  },
  "permission-denied": {
    exit: state,
    means: "The caller may not do this.",
    hint: "Changing a device needs root: try with sudo.",
  },
  busy: {
    exit: busy,
    means: "Another transaction is running.",
    hint: "Wait for it to end; the holder is named above. mosctl update --wait waits for it.",
  },
  "cancel-too-late": {
    exit: busy,
    means: "What runs cannot be cancelled any more, because the device is being changed.",
    hint: "Wait for it to end; then mosctl rollback goes back.",
  },
  "update-postponed": {
    exit: busy,
    means: "An update was not begun or not finished, because this is not the time for it.",
    hint: "What was fetched is kept. mosctl update REF does it now.",
  },

  // The TPM.
  "tpm-address-invalid": {
    exit: usage,
    means: "The address of a TPM cannot be understood.",
    hint: "Use device:/dev/tpmrm0, swtpm:/path/to/socket or swtpm:HOST:PORT.",
  },
  "tpm-missing": {
    exit: state,
    means: "There is no TPM where one is needed.",
    hint: "Enable the TPM 2.0 in the firmware; the kernel shows it as /dev/tpmrm0.",
  },
  "tpm-unreachable": {
    exit: state,
    means: "The TPM cannot be opened, or the connection to it broke.",
    hint: "Another program may hold it; the system's own message is above.",
  },
  "tpm-timeout": {
    exit: state,
    means: "The TPM did not answer in time.",
    hint: "Try again; if it stays like this, the TPM or its driver hangs: power the device off and on.",
  },
  "tpm-response-malformed": {
    exit: state,
    means: "The TPM's answer does not have the form that the specification gives it.",
    hint: "What answers there is not a TPM 2.0, or something between it and mos alters what it says.",
  },
  "tpm-response-forged": {
    exit: refused,
    means: "The TPM's answer does not prove that it came from the TPM which the session was begun with.",
    hint: "Something between the TPM and mos altered the answer. Nothing of it was used.",
  },
  "tpm-refused": {
    exit: refused,
    means: "The TPM refused a command.",
    hint: "The TPM's own reason is above, by its name in the TPM 2.0 specification (Part 2, section 6.6).",
  },
  "tpm-lockout": {
    exit: refused,
    means: "The TPM is locked after too many wrong authorizations.",
    hint: "Wait until it forgets one (see the lockout interval), or reset the lockout with the lockout authorization.",
  },
  "tpm-changed": {
    exit: refused,
    means: "The TPM is not the one that this device was provisioned with.",
    hint: "Put the original TPM back, or provision the device again.",
  },
  "tpm-data-invalid": {
    exit: refused,
    means: "Something that was made by or for a TPM (a sealed secret, a key, a quote) is damaged.",
    hint: "It was altered or cut short: make it again.",
  },
  "tpm-quote-invalid": {
    exit: refused,
    means: "A quote does not prove what it should.",
    hint: "It is of another key, another nonce or other PCR values, or was altered.",
  },
  "attestation-refused": {
    exit: refused,
    means:
      "An attestation does not prove what it was asked to prove; the error is about the check that failed.",
    hint: "docs/how-to/attest.md says what each check means.",
  },
  "identity-missing": {
    exit: state,
    means: "The device has no certificate and key of its own.",
    hint: "trust provision, then start it with its production UKI: its initrd takes them out of the TPM.",
  },

  // What happens on systemd and other programs.
  "boot-failed": {
    exit: unhealthy,
    means:
      "A new kernel or root did not start as often as it was tried, and the device started the one before.",
    hint: "Correct the image and publish it again; mosctl update --retry REF tries the same one once more.",
  },
  "reboot-needed": {
    exit: busy,
    means: "A new kernel and root wait for the device to be started anew, or are on trial.",
    hint: "mosctl update --reboot starts the device anew; mosctl status shows what waits.",
  },
  "generation-unhealthy": {
    exit: unhealthy,
    means: "A new generation did not become healthy in time; what ran before runs again.",
    hint: "mosctl status says why; journalctl -b -u mosd -u 'mos-svc-*' has the whole story.",
  },
  "generation-tries-exhausted": {
    exit: unhealthy,
    means: "Every try of a new generation was interrupted, by a reboot or a crash.",
    hint: "journalctl -b -1 says what happened; mosctl update --retry REF tries again.",
  },
  "layer-corrupt": {
    exit: unhealthy,
    means: "dm-verity found a block of a layer that is not what was signed.",
    hint: "The disk is damaged or was altered: mosctl update REF fetches the layer again.",
  },
  "service-failed": {
    exit: unhealthy,
    means: "A service did not come up or is not running any more.",
    hint: "journalctl -u UNIT shows its log.",
  },
  "service-unhealthy": {
    exit: unhealthy,
    means: "A service runs, but its own health check fails.",
    hint: "podman healthcheck run mos-SERVICE asks it again; its log may say why.",
  },
  "systemd-failed": {
    exit: failure,
    means: "systemd did not do what it was asked.",
    hint: "systemctl status and journalctl -b say more.",
  },
  "program-missing": {
    exit: failure,
    means: "A program that mos needs is not installed.",
    hint: "Install the Debian package named above.",
  },
  "program-failed": {
    exit: failure,
    means: "A program that mos ran failed.",
    hint: "Its own message is above.",
  },
  "agent-failed": {
    exit: failure,
    means: "mosd answered in a way that mosctl does not understand.",
    hint: "Are both of one version? journalctl -u mosd",
  },
  "machine-failed": {
    exit: failure,
    means: "A virtual machine did not do what it was asked.",
    hint: "The end of its console is above.",
  },
  "fault-points-missing": {
    exit: usage,
    means: "MOS_FAULT asks for faults, and this build has none.",
    hint: "Unset MOS_FAULT. For tests, ./dev build --faults makes a build that has them.",
  },
  cancelled: {
    exit: failure,
    means: "An operation was cancelled before it changed the device.",
    hint: "What was fetched is kept; the command can be repeated.",
  },
  internal: { exit: failure, means: "A defect in mos.", hint: "Please report it with the text above." },
} as const satisfies Record<string, Entry>;

export type ErrorCode = keyof typeof catalogue;
