#!/bin/sh
# An installer that was started from an optical disc: Linux looks for no partitions on such, so a loop device shows
# them. Where they are there without that, as on a USB stick, it does nothing. What is on the disc is verified by its
# root hash, as on any other medium.
set -u
timeout=60
partition=/dev/disk/by-partlabel/mos-install-esp
read -r cmdline < /proc/cmdline
for word in $cmdline; do
  case $word in mos.state-timeout=*) timeout=${word#*=} ;; esac
done
case $timeout in '' | *[!0-9]*) timeout=60 ;; esac
modprobe -a -q sr_mod loop || :
while [ ! -e "$partition" ] && [ "$timeout" -gt 0 ]; do
  for disc in /dev/sr[0-9]*; do
    # The volume's identifier (ECMA-119, 8.4.7).
    label=$(dd if="$disc" bs=1 skip=32808 count=11 2>/dev/null)
    [ "$label" = MOS_INSTALL ] || continue
    losetup --find --partscan --read-only "$disc" && echo "mos: installing from $disc" && exit 0
  done
  sleep 1
  timeout=$((timeout - 1))
done
