#!/bin/bash
# dracut module of mos for a device whose state is encrypted to its TPM. Beside the module mos, because it brings
# cryptsetup, tpm2-tools and their libraries: many times as large as all of that.

check() {
  require_binaries cryptsetup dmsetup tpm2 mke2fs basenc || return 1
  # Only when asked for: add_dracutmodules+=" mos-encrypt "
  return 255
}

depends() {
  echo mos dm
}

installkernel() {
  hostonly="" instmods dm_crypt xts ecb aes_generic aesni_intel sha256_generic sha256_ssse3 algif_skcipher =drivers/char/tpm
}

install() {
  inst_simple "$moddir/mos-unlock.service" "$systemdsystemunitdir/mos-unlock.service"
  for script in mos-unlock mos-state-key; do
    inst_script "$moddir/$script.sh" "/usr/lib/mos/$script"
  done
  inst_multiple cryptsetup dmsetup tpm2 mke2fs basenc cat dd head mkdir modprobe readlink rm sed sort stat sync tail tr truncate udevadm
  inst_multiple -o /etc/mke2fs.conf
  # What speaks to the kernel's device is loaded by its name.
  inst_libdir_file "libtss2-tcti-device.so*"
  $SYSTEMCTL -q --root "$initdir" add-requires initrd.target mos-unlock.service
}
