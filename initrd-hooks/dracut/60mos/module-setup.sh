#!/bin/bash
# dracut module of mos: in the initrd, after the verified root is mounted and before the system changes over to it,
# the program *of that root* takes its secrets from the TPM and closes them; then it verifies the current generation
# and writes its units, so that its services are part of the first boot transaction. Nothing but units, scripts of a
# few lines and the files of /etc/mos is in the initrd: no Node.

check() {
  # Only when asked for: add_dracutmodules+=" mos "
  return 255
}

depends() {
  echo systemd
}

install() {
  local unit script
  for unit in mos-hostfs mos-hostfs-layers mos-medium mos-initrd mos-initrd-state mos-initrd-files mos-initrd-apply \
    mos-initrd-gate; do
    inst_simple "$moddir/$unit.service" "$systemdsystemunitdir/$unit.service"
  done
  for script in mos-hostfs mos-hostfs-layers mos-medium mos-initrd mos-state mos-gate mos-starts mos-refused; do
    inst_script "$moddir/$script.sh" "/usr/lib/mos/$script"
  done
  inst_simple "$moddir/mos-loader.sh" /usr/lib/mos/mos-loader
  inst_simple "$moddir/mos-hostfs-volatile.conf" \
    /etc/systemd/system/systemd-volatile-root.service.d/mos-hostfs-volatile.conf
  inst_simple "$moddir/61-mos-state.rules" /usr/lib/udev/rules.d/61-mos-state.rules
  inst_multiple cat mkdir cp chmod dd modprobe mount sleep sync udevadm umount
  # A root out of the store needs veritysetup and the kernel's loop, dm_verity and overlay besides, which mosb image build puts
  # into its initrds: they are many times as large as all of this.
  inst_multiple -o /usr/lib/systemd/systemd-fsck
  # In place of any shell that another module brings.
  for unit in emergency rescue; do
    inst_simple "$moddir/mos-refused.service" "/etc/systemd/system/$unit.service"
  done
  ln -sf /dev/null "$initdir/etc/systemd/system/debug-shell.service"
  # What the signed image says about trust: anchors, policy, approved policies of the TPM.
  local file
  for file in policy.json manifestCA.pem sudiCA.pem; do
    [ -e "$dracutsysrootdir/etc/mos/initrd/$file" ] && inst_simple "/etc/mos/initrd/$file"
  done
  [ -d "$dracutsysrootdir/etc/mos/initrd/pcr7data" ] && inst_dir /etc/mos/initrd/pcr7data &&
    while IFS= read -r file; do inst_simple "$file"; done < <(find /etc/mos/initrd/pcr7data -type f)
  $SYSTEMCTL -q --root "$initdir" add-requires initrd.target mos-initrd.service
  # Whoever needs the root waits for it to be whole.
  $SYSTEMCTL -q --root "$initdir" add-requires initrd-root-fs.target mos-hostfs-layers.service
  for unit in mos-hostfs mos-medium mos-initrd-state mos-initrd-files mos-initrd-apply mos-initrd-gate; do
    $SYSTEMCTL -q --root "$initdir" add-wants initrd.target "$unit.service"
  done
}
