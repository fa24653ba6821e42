#!/bin/sh
# What happens to a machine whose system did not start (mos-refused.service), before it powers off:
# - A system that the boot loader still counts is on trial: it is started anew, until its tries are used up and the
#   loader takes the one before.
# - One that was good has no counter. The loader is told to start the one behind it in its own order, once: the system
#   of before, say, when the disk has damaged the root of this one, or what it needs to come up (mos-starts.sh). Each
#   start that fails goes on to the next, and what fails last ends here, so this is never a circle. All of them are
#   signed, and each is verified as at any start.
# - Any other powers off: nobody would be helped by trying again. So does one that the policy does not let boot on; and
#   one that is bad, where the loader has nothing else and would go on with it for ever: "+0-10" is the tenth try of one
#   that has none left.
# Without file name patterns: texts are split, and nothing else.
set -uf
# shellcheck source=mos-loader.sh
. "${0%/*}/mos-loader"

again() {
  echo "mos: $*"
  sync
  echo b > /proc/sysrq-trigger
  # Not reached where that is allowed.
  exec systemctl --force --force reboot
}

if [ -e "$variables/LoaderBootCountPath-$loader" ]; then
  # UTF-16; the shell leaves out its zero bytes.
  case $(cat "$variables/LoaderBootCountPath-$loader" 2>/dev/null) in *+0-[1-9][0-9]*) exit 0 ;; esac
  again "this system is on trial, and did not start: trying again"
fi
# The policy does not let the device boot on (mos-gate.sh): that is no failure of the system.
[ ! -e /run/mos/files-stop ] || exit 0
case $(cat /run/mos/initrd-stage.json 2>/dev/null) in *'"bootsOn":false'*) exit 0 ;; esac
find_next || exit 0
start_once "$next" && again "this system did not start: starting $next instead"
