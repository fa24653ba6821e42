#!/bin/sh
# Opens the root that the signed command line names, out of the store on the file system with the device's state:
# mos.hostfs=sha256:HEX is the layer, mos.hostfs-offset=BYTES where its hash tree begins, roothash= what that leads to.
# Nothing of that file system is believed: dm-verity checks every block of the layer as it is read.
#
# The file system is /dev/mos-state (61-mos-state.rules), or what mos.state= names. It stays mounted at /run/mos-hostfs
# for as long as the system runs from it, read-only there, and is mounted once more where the state belongs.
set -uf
place=/run/mos-hostfs
device=/dev/mos-state
timeout=60
digest='' offset='' hash=''

refuse() {
  echo "mos: cannot open the root: $*" >&2
  exit 1
}

read -r cmdline < /proc/cmdline
for word in $cmdline; do
  case $word in
  mos.hostfs=sha256:*) digest=${word#*:} ;;
  mos.hostfs-offset=*) offset=${word#*=} ;;
  roothash=*) hash=${word#*=} ;;
  mos.state-timeout=*) timeout=${word#*=} ;;
  mos.state=LABEL=*) device=/dev/disk/by-label/${word#*=*=} ;;
  mos.state=PARTUUID=*) device=/dev/disk/by-partuuid/${word#*=*=} ;;
  mos.state=PARTLABEL=*) device=/dev/disk/by-partlabel/${word#*=*=} ;;
  mos.state=/dev/*) device=${word#*=} ;;
  esac
done
case $timeout in '' | *[!0-9]*) timeout=60 ;; esac
case $digest in '' | *[!0-9a-f]*) refuse "mos.hostfs= is no digest" ;; esac
case $offset in '' | *[!0-9]*) refuse "mos.hostfs-offset= is no number" ;; esac
case $hash in '' | *[!0-9a-f]*) refuse "roothash= is no root hash" ;; esac
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
for below in lib/mos var/lib/mos mos ''; do
  layer=$place/$below/oci/blobs/sha256/$digest
  [ -f "$layer" ] && break
done
[ -f "$layer" ] || refuse "the layer sha256:$digest is not in the store on $device"
# The kernel loads none of these by itself so early.
modprobe -a -q loop dm_verity || :
veritysetup open --hash-offset="$offset" "$layer" root "$layer" "$hash" || refuse "its hash tree is not the signed one"
echo "mos: the root is sha256:$digest, from $device"
