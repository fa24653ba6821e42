#!/bin/sh
# What happens to a machine whose system did not start (mos-refused.service), before it powers off:
# - A system that the boot loader still counts is on trial: it is started anew, until its tries are used up and the
#   loader takes the one before.
# - One that was good has no counter. The loader is told to start the one behind it in its own order, once: the system
#   of before, say, when the disk has damaged the root of this one. Each start that fails goes on to the next, and what
#   fails last ends here, so this is never a circle. All of them are signed, and each is verified as at any start.
# - Any other powers off: nobody would be helped by trying again. So does one that the policy does not let boot on; and
#   one that is bad, where the loader has nothing else and would go on with it for ever: "+0-10" is the tenth try of one
#   that has none left.
# Without file name patterns: texts are split, and nothing else.
set -uf
variables=/sys/firmware/efi/efivars
# Of systemd's boot loader interface.
loader=4a67b082-0a4c-41cf-b6c7-440b29bb8c4f

again() {
  echo "mos: $*"
  sync
  echo b > /proc/sysrq-trigger
  # Not reached where that is allowed.
  exec systemctl --force --force reboot
}

# The texts of a variable, one a line: attributes of four bytes, then UTF-16, a zero behind each text. cat shows a zero
# byte as "^@", and what is no letter of ASCII as several: a "?" stands for that, which is in no name of ours.
texts() {
  rest=$(cat -v "$variables/$1-$loader" 2>/dev/null) || return 0
  rest=${rest#??'^@^@^@'}
  text=
  while :; do
    case $rest in *'^@'*) ;; *) return 0 ;; esac
    letter=${rest%%'^@'*}
    rest=${rest#*'^@'}
    case $letter in
    '') ;;
    ?) text=$text$letter && continue ;;
    *) text="$text?" && continue ;;
    esac
    rest=${rest#'^@'}
    echo "$text"
    text=
  done
}

# Sets $next to the image of the same name (IMAGE_ID) that the loader has behind the one that it has started.
find_next() {
  next=
  selected=$(texts LoaderEntrySelected)
  name=${selected%_*}
  [ -n "$name" ] && [ "$name" != "$selected" ] || return 1
  passed=false
  for entry in $(texts LoaderEntries); do
    case $entry in *[!A-Za-z0-9._+~@^-]*) continue ;; esac
    case $entry in "${name}_"*.efi) ;; *) continue ;; esac
    [ "$passed" = true ] && next=$entry && return 0
    [ "$entry" = "$selected" ] && passed=true
  done
  return 1
}

# Non-volatile, as bootctl set-oneshot writes it (UEFI 2.10, section 8.2.1); the loader removes it. In one write, which
# is what efivarfs takes for the whole of it.
start_once() {
  text='' rest=$1
  while [ -n "$rest" ]; do
    text="$text${rest%"${rest#?}"}\\000"
    rest=${rest#?}
  done
  # shellcheck disable=SC2059
  printf "\\007\\000\\000\\000$text\\000\\000" > "$variables/LoaderEntryOneShot-$loader"
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
