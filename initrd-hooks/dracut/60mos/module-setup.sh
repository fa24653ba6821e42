#!/bin/bash
# dracut module of mos: in the initrd, after the verified root is mounted and before the system changes over to it,
# the program *of that root* takes its secrets from the TPM and closes them. Nothing but a unit, a script of a few
# lines and the files of /etc/mos is in the initrd: no Node.

check() {
  # Only when asked for: add_dracutmodules+=" mos "
  return 255
}

depends() {
  echo systemd
}

install() {
  inst_simple "$moddir/mos-initrd.service" "$systemdsystemunitdir/mos-initrd.service"
  inst_script "$moddir/mos-initrd.sh" /usr/lib/mos/mos-initrd
  inst_multiple mkdir cp chmod
  # In place of any shell that another module brings.
  local unit
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
}
