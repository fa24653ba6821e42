#!/bin/sh
# Puts the layers of the root that mos-hostfs.sh has mounted over the lowest one, which is mounted by now.
set -uf
root=/sysroot
layers=/run/mos-hostfs-layers
lower=$root volatile='' options='' count=0

# As an error (sd-daemon(3)), so that mos-refused.service shows it last.
refuse() {
  echo "<3>mos: cannot put the root together: $*" >&2
  exit 1
}

read -r cmdline < /proc/cmdline
for word in $cmdline; do
  case $word in
  mos.hostfs-layer=*)
    count=$((count + 1))
    [ -d "$layers/$count" ] || refuse "the layer ${word#*=} is not mounted"
    lower=$layers/$count:$lower
    ;;
  systemd.volatile=*) volatile=${word#*=} ;;
  esac
done
modprobe -q overlay || :
# What systemd-volatile-root.service would do in one more overlay above this one, and leaves alone then: the kernel
# stacks no more than two (FILESYSTEM_MAX_STACK_DEPTH), and the system that runs may want one, as for systemd-sysext(8).
if [ "$volatile" = overlay ]; then
  mkdir -p -m 0700 "$layers/volatile"
  mount -t tmpfs -o strictatime,mode=0755,size=25%,nr_inodes=1m tmpfs "$layers/volatile" || refuse "no memory for changes"
  mkdir -m 0755 "$layers/volatile/upper" "$layers/volatile/work" || refuse "no memory for changes"
  options=,upperdir=$layers/volatile/upper,workdir=$layers/volatile/work
fi
mount -t overlay -o "lowerdir=$lower$options" overlay "$root" || refuse "the overlay of $lower cannot be mounted"
# It has mounts of its own of what it was made of.
while [ "$count" -gt 0 ]; do
  umount "$layers/$count" || :
  count=$((count - 1))
done
echo "mos: the root is an overlay"
