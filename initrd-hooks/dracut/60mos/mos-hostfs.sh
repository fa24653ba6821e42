#!/bin/sh
# Opens the root that the signed command line names, out of the store on the file system with the device's state:
# mos.hostfs=sha256:HEX is its lowest layer, mos.hostfs-offset=BYTES where that one's hash tree begins, roothash= what
# that leads to. Each mos.hostfs-layer=sha256:HEX,BYTES,ROOTHASH,KIND is one more, the next above the one before: they
# are mounted here, and put over the lowest when that is the root (mos-hostfs-layers.sh).
# Nothing of that file system is believed: dm-verity checks every block of a layer as it is read.
#
# The file system is /dev/mos-state (61-mos-state.rules), or what mos.state= names. It stays mounted at /run/mos-hostfs
# for as long as the system runs from it, read-only there, and is mounted once more where the state belongs.
set -uf
place=/run/mos-hostfs
layers=/run/mos-hostfs-layers
device=/dev/mos-state
timeout=60
digest='' offset='' hash='' above='' count=0

# As an error (sd-daemon(3)), so that mos-refused.service shows it last.
refuse() {
  echo "<3>mos: cannot open the root: $*" >&2
  exit 1
}

is_hash() {
  case $1 in *[!0-9a-f]*) return 1 ;; esac
  [ "${#1}" -eq 64 ]
}

# check DIGEST OFFSET ROOTHASH: whether these can be what the command line has to say of a layer.
check() {
  is_hash "$1" || refuse "mos.hostfs= or mos.hostfs-layer= has no digest: $1"
  case $2 in '' | *[!0-9]*) refuse "the offset of the layer sha256:$1 is no number: $2" ;; esac
  is_hash "$3" || refuse "the layer sha256:$1 has no root hash: $3"
}

# open_layer DEVICE DIGEST OFFSET ROOTHASH
open_layer() {
  [ -e "/dev/mapper/$1" ] && return 0
  for below in lib/mos var/lib/mos mos ''; do
    layer=$place/$below/oci/blobs/sha256/$2
    [ -f "$layer" ] && break
  done
  [ -f "$layer" ] || refuse "the layer sha256:$2 is not in the store on $device"
  veritysetup open --hash-offset="$3" "$layer" "$1" "$layer" "$4" ||
    refuse "the hash tree of the layer sha256:$2 is not the signed one"
  # Now and by its name: udev makes no device of one whose first block cannot be read, and that would be waited for.
  dd "if=/dev/mapper/$1" of=/dev/null bs=4096 count=1 2>/dev/null || refuse "the layer sha256:$2 is not the signed one"
}

read -r cmdline < /proc/cmdline
for word in $cmdline; do
  case $word in
  mos.hostfs=sha256:*) digest=${word#*:} ;;
  mos.hostfs-offset=*) offset=${word#*=} ;;
  mos.hostfs-layer=*) above="$above ${word#*=}" ;;
  roothash=*) hash=${word#*=} ;;
  mos.state-timeout=*) timeout=${word#*=} ;;
  mos.state=LABEL=*) device=/dev/disk/by-label/${word#*=*=} ;;
  mos.state=PARTUUID=*) device=/dev/disk/by-partuuid/${word#*=*=} ;;
  mos.state=PARTLABEL=*) device=/dev/disk/by-partlabel/${word#*=*=} ;;
  mos.state=/dev/*) device=${word#*=} ;;
  esac
done
case $timeout in '' | *[!0-9]*) timeout=60 ;; esac
check "$digest" "$offset" "$hash"
for word in $above; do
  count=$((count + 1))
  # Nine in all (src/boot/command-line.ts).
  [ "$count" -le 8 ] || refuse "it has too many layers"
  IFS=,
  set -- $word
  unset IFS
  [ $# -eq 4 ] || refuse "mos.hostfs-layer= is no layer: $word"
  case $1 in sha256:*) ;; *) refuse "mos.hostfs-layer= has no digest: $word" ;; esac
  check "${1#*:}" "$2" "$3"
  case $4 in erofs | squashfs) ;; *) refuse "the layer $1 is of no known kind: $4" ;; esac
done
[ -e /dev/mapper/root ] && exit 0

if [ ! -e "$device" ]; then
  echo "mos: waiting for $device, up to $timeout s"
  udevadm wait --timeout="$timeout" "$device" || refuse "$device does not appear"
fi
[ -x /usr/lib/systemd/systemd-fsck ] && /usr/lib/systemd/systemd-fsck "$device"
mkdir -p -m 0700 "$place"
# Writable as a whole, because its other mount will be; not through this name.
mount "$device" "$place" || refuse "$device cannot be mounted"
mount -o remount,bind,ro "$place" || refuse "$place cannot be made read-only"
# The kernel loads none of these by itself so early.
modprobe -a -q loop dm_verity || :
count=0
for word in $above; do
  count=$((count + 1))
  IFS=,
  set -- $word
  unset IFS
  open_layer "mos-root$count" "${1#*:}" "$2" "$3"
  mkdir -p -m 0700 "$layers" "$layers/$count"
  mount -t "$4" -o ro "/dev/mapper/mos-root$count" "$layers/$count" || refuse "the layer $1 cannot be mounted"
done
# Last: what waits for the root goes on now.
open_layer root "$digest" "$offset" "$hash"
echo "mos: the root is sha256:$digest${above:+ below$above}, from $device"
