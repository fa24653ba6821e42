#!/bin/sh
# Sees to it that the file system with the device's state is where the running system has it (/var/lib/mos), before
# the system changes over to its root. Whose word counts, in this order: what is mounted already (/etc/fstab of the
# root with x-initrd.mount); mos.state= on the kernel's command line; /etc/fstab of the root; ostree's stateroot; a
# partition of the type or with the label of 61-mos-state.rules; the root file system itself.
#
# mos.state=partition is such a partition, which is then waited for; mos.state=LABEL=NAME, PARTUUID=ID or /dev/NAME is
# that one; mos.state=root is the root file system. Nothing is waited for longer than mos.state-timeout= seconds (30).
#
# Says in /run/mos/initrd-state what came of it: "found HOW" or "missing WHY DEVICE". Never fails: what follows from
# it is decided by the program of the verified root, and by the policy.
# Without file name patterns: words of the command line are split, and nothing else.
set -uf
root=${1:-/sysroot}
timeout=30
wanted=
unmounted=
stateroot=

# A system that the boot loader counts and that a transaction waits for is started anew when nobody says in time that it
# is well (units/mos-trial.timer): also when the program that should say so does not run at all.
watch_trial() {
  [ -e /sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f ] || return 0
  journal=$root/var/lib/mos/journal.json
  [ -r "$journal" ] && read -r transaction < "$journal" || return 0
  case $transaction in *'"system":'*) : > /run/mos/boot-trial ;; esac
}

answer() {
  watch_trial
  echo "$*" > /run/mos/initrd-state
  echo "mos: state file system: $*"
  exit 0
}

is_mounted() {
  while read -r _ _ _ _ point _; do
    [ "$point" = "$1" ] && return 0
  done < /proc/self/mountinfo
  return 1
}

# The root is on a device that cannot be written: dm-verity, a read-only disk.
is_readonly_device() {
  while read -r _ _ number _ point _; do
    [ "$point" = "$root" ] || continue
    [ -r "/sys/dev/block/$number/ro" ] && read -r ro < "/sys/dev/block/$number/ro" && [ "$ro" = 1 ] && return 0
  done < /proc/self/mountinfo
  return 1
}

# Sets $plain to mount options without those that are for systemd and mount(8) only: not every initrd has that program.
plain_options() {
  plain=
  IFS=,
  for option in $1; do
    case $option in x-* | nofail | auto | comment=*) ;; *) plain=$plain${plain:+,}$option ;; esac
  done
  unset IFS
}

# mount_device HOW DEVICE DIRECTORY TYPE OPTIONS: waits for the device, no longer than for $timeout seconds.
mount_device() {
  if [ ! -e "$2" ]; then
    echo "mos: waiting for $2, up to $timeout s"
    udevadm wait --timeout="$timeout" "$2" || answer "missing device $2"
  fi
  # Mounted already where the root comes out of the store (mos-hostfs.sh), which has checked it.
  [ -x /usr/lib/systemd/systemd-fsck ] && ! is_mounted /run/mos-hostfs && /usr/lib/systemd/systemd-fsck "$2"
  # As systemd does for the mounts of /etc/fstab.
  [ -d "$root$3" ] || mkdir -p "$root$3"
  plain_options "$5"
  mount -t "$4" -o "${plain:-defaults}" "$2" "$root$3" || answer "missing mount $2"
  answer "found $1"
}

# Sets $device to the path of what a line of /etc/fstab names.
find_device() {
  case $1 in
  LABEL=*) device=/dev/disk/by-label/${1#*=} ;;
  UUID=*) device=/dev/disk/by-uuid/${1#*=} ;;
  PARTLABEL=*) device=/dev/disk/by-partlabel/${1#*=} ;;
  PARTUUID=*) device=/dev/disk/by-partuuid/${1#*=} ;;
  /dev/*) device=$1 ;;
  *) answer "missing later $1" ;;
  esac
}

mkdir -p -m 0755 /run/mos
read -r cmdline < /proc/cmdline
for word in $cmdline; do
  case $word in
  mos.state-timeout=*) timeout=${word#*=} ;;
  mos.state=*) wanted=${word#*=} ;;
  # systemd-fstab-generator(8): an installer's medium, say, whose disks are nobody's yet.
  fstab=no | fstab=0 | fstab=off | fstab=false) unmounted=root ;;
  ostree=/ostree/boot.*/*/*/*)
    stateroot=${word#ostree=/ostree/boot.*/}
    stateroot=${stateroot%%/*}
    ;;
  esac
done
case $timeout in '' | *[!0-9]*) timeout=30 ;; esac

for point in /var/lib/mos /var/lib /var; do
  is_mounted "$root$point" && answer "found mounted"
done

case ${wanted:-$unmounted} in
'') ;;
root) answer "found root" ;;
partition) mount_device partition /dev/mos-state /var auto rw ;;
*)
  find_device "$wanted"
  mount_device command-line "$device" /var auto rw
  ;;
esac

if [ -r "$root/etc/fstab" ]; then
  while read -r what point type options _ || [ -n "$what" ]; do
    case $what in '#'*) continue ;; esac
    case $point in /var | /var/lib | /var/lib/mos) ;; *) continue ;; esac
    case $type,$options, in
    nfs*,* | cifs,* | *,_netdev,* | *,noauto,*) answer "missing later $what" ;;
    esac
    find_device "$what"
    mount_device fstab "$device" "$point" "$type" "$options"
  done < "$root/etc/fstab"
fi

if [ -n "$stateroot" ] && [ -d "$root/ostree/deploy/$stateroot/var" ]; then
  mount -o bind "$root/ostree/deploy/$stateroot/var" "$root/var" || answer "missing mount $root/ostree/deploy/$stateroot/var"
  answer "found ostree"
fi

if [ -e /dev/mos-state ] || [ ! -d "$root/var/lib" ] || is_readonly_device; then
  mount_device partition /dev/mos-state /var auto rw
fi
answer "found root"
