#!/bin/sh
# Counts the starts of a good system of which nobody sees the end: each leaves the name of its image in
# /var/lib/mos/starts, and the agent of the running system takes that file away. One that comes out of its initrd and
# panics then, because the disk has damaged what its first program needs, would do so for ever: after so many starts it
# is not gone on with, and mos-refused.sh has the one behind it started, once. Where there is none it is gone on with.
#
# A system on trial is counted by the boot loader. Where nothing can be written, nothing is counted.
set -uf
root=${1:-/sysroot}
starts=$root/var/lib/mos/starts
most=5
# shellcheck source=mos-loader.sh
. "${0%/*}/mos-loader"

[ -e "$variables/LoaderBootCountPath-$loader" ] && exit 0
# Whoever can write that disk must not lead this anywhere else.
for path in "$root/var" "$root/var/lib" "$root/var/lib/mos"; do
  [ -d "$path" ] && [ ! -h "$path" ] || exit 0
done
[ ! -e "$starts" ] || [ -f "$starts" ] || exit 0
[ ! -h "$starts" ] || exit 0
# Sets $selected as well.
find_next || exit 0
count=0
if [ -r "$starts" ]; then
  while [ "$count" -lt "$most" ] && read -r name; do
    case $name in "$selected") count=$((count + 1)) ;; *) count=0 ;; esac
  done < "$starts"
fi
if [ "$count" -ge "$most" ]; then
  : > "$starts"
  echo "mos: this boot ends here: $count starts of $selected came out of the initrd, and were not seen to come up" >&2
  exit 1
fi
# Now, because a panic would not leave it the time.
echo "$selected" >> "$starts" && sync "$starts"
exit 0
