#!/bin/sh
# Opens the encrypted state (mos.encrypted=tpm2 on the signed command line) as /dev/mapper/mos-state, with a key that
# the TPM gives to this start only (mos-state-key.sh). A partition that begins with the mark of a new image is encrypted
# first. Anything else is refused, and nothing of it is changed: a plain file system that somebody has put there is not
# this device's state.
#
# Whoever can write to the disk can put a new partition there, with the mark, and the device begins anew: its state is
# lost then, as when he overwrites it.
set -uf
name=mos-state
device=/dev/mos-state
timeout=60
# In the initrd's own memory, which is gone when the system runs; not in /run, which stays.
work=/tmp/mos-unlock
mark="mos: to be encrypted at the first start"

refuse() {
  rm -rf "$work"
  echo "mos: the state cannot be opened, and nothing of it was changed: $*" >&2
  exit 1
}

read -r cmdline < /proc/cmdline
for word in $cmdline; do
  case $word in
  mos.state-timeout=*) timeout=${word#*=} ;;
  esac
done
case $timeout in '' | *[!0-9]*) timeout=60 ;; esac
[ -e "/dev/mapper/$name" ] && exit 0

modprobe -a -q dm_crypt tpm_crb tpm_tis || :
if [ ! -e /dev/tpmrm0 ]; then
  udevadm wait --timeout="$timeout" /dev/tpmrm0 || refuse "this machine has no TPM 2.0"
fi
if [ ! -e "$device" ]; then
  echo "mos: waiting for $device, up to $timeout s"
  udevadm wait --timeout="$timeout" "$device" || refuse "$device does not appear"
fi
device=$(readlink -f "$device")
rm -rf "$work"
mkdir -p -m 0700 "$work" || refuse "there is no room to work in"
header=$work/header key=$work/key

attach() {
  # With the key in the table of the device, and not in a keyring: the running system makes a recovery key with it, and
  # lets the volume grow.
  cryptsetup open --type luks2 --header "$header" --key-file "$key" --keyfile-size 32 --disable-keyring \
    --allow-discards "$device" "$name" || refuse "its volume is not opened by its key"
  # What it really is, whatever the header says: one piece, this cipher, from behind the header of this device.
  number=$(cat "/sys/class/block/${device##*/}/dev")
  # shellcheck disable=SC2046
  set -- $(dmsetup table "$name")
  case "$#:${1-}:${3-}:${4-}:${6-}:${7-}:${8-}:${9-}:${10-}:${11-}" in
  "10:0:crypt:aes-xts-plain64:0:$number:32768:1:allow_discards:") ;;
  "11:0:crypt:aes-xts-plain64:0:$number:32768:2:allow_discards:sector_size:4096") ;;
  *)
    dmsetup remove "$name"
    refuse "its volume is not encrypted as it has to be"
    ;;
  esac
}

# Secure Boot is on, and its keys are not anybody's to set (UEFI 2.10, section 3.3): four bytes of attributes, and one.
secure_boot() {
  vars=/sys/firmware/efi/efivars
  guid=8be4df61-93ca-11d2-aa0d-00e098032b8c
  [ "$(tail -c 1 "$vars/SecureBoot-$guid" 2>/dev/null | basenc --base16)" = 01 ] &&
    [ "$(tail -c 1 "$vars/SetupMode-$guid" 2>/dev/null | basenc --base16)" = 00 ]
}

create() {
  secure_boot || refuse "it is to be encrypted now, and Secure Boot is off: the TPM would give its key to any system"
  /usr/lib/mos/mos-state-key new "$header" "$device" "$key" || refuse "it cannot be encrypted"
  attach
  mke2fs -q -t ext4 -b 4096 -L mos-state -E nodiscard "/dev/mapper/$name" || refuse "it cannot be given a file system"
  sync
  # The mark goes last: until then a power cut leaves a partition that is to be encrypted.
  dd if="$header" of="$device" bs=4096 skip=1 seek=1 conv=notrunc,fsync 2> "$work/errors" &&
    dd if="$header" of="$device" bs=4096 count=1 conv=notrunc,fsync 2> "$work/errors" ||
    refuse "its header cannot be written"
  echo "mos: the state is encrypted, and only this TPM opens it"
}

if [ "$(head -c "${#mark}" "$device" | tr -d '\000')" = "$mark" ]; then
  create
elif cryptsetup isLuks --type luks2 "$device"; then
  cryptsetup luksHeaderBackup "$device" --header-backup-file "$header" || refuse "its header cannot be read"
  /usr/lib/mos/mos-state-key find "$header" "$key" || refuse "the TPM does not give its key. A recovery key opens it"
  attach
else
  refuse "what is on $device is not encrypted, and this system's state has to be"
fi
rm -rf "$work"
udevadm settle --timeout=30 || :
udevadm wait --timeout=30 "/dev/mapper/$name" || refuse "/dev/mapper/$name does not appear"
echo "mos: the state is open, from $device"
