#!/bin/sh
# Ends well when this boot may go on. The program of the verified root has said so in /run/mos/boot-on, by the policy;
# where it could not say anything, because it was not there, was killed or ran out of time, the outcome is
# "interrupted", and the policy of the initrd is asked here.
set -u
if [ -e /run/mos/files-stop ]; then
  echo "mos: this boot ends here: the policy does not let it go on without all signed files, sets and apps" >&2
  exit 1
fi
[ -e /run/mos/boot-on ] && exit 0
record=/run/mos/initrd-stage.json
if [ -e "$record" ]; then
  echo "mos: this boot ends here: the policy does not let it go on without the services of the device" >&2
  exit 1
fi
# A new system whose agent does not even run is not well, whatever the policy says: the boot loader counts it, and has
# another one (mos-refused.sh).
if [ -e /run/mos/boot-trial ]; then
  echo "mos: this boot ends here: the stage in the initrd was interrupted, in a system that is on trial" >&2
  exit 1
fi
may=true
if [ -r /run/mos/initrd/policy.json ]; then
  restricted=false named=false
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in *'"bootOn"'*) restricted=true ;; esac
    case $line in *'"interrupted"'*) named=true ;; esac
  done < /run/mos/initrd/policy.json
  [ "$restricted" = true ] && may=$named
fi
mkdir -p -m 0755 /run/mos
echo "{\"version\":1,\"outcome\":\"interrupted\",\"bootsOn\":$may}" > "$record"
[ "$may" = true ] && exit 0
echo "mos: this boot ends here: the stage in the initrd was interrupted, and the policy does not let it go on" >&2
exit 1
