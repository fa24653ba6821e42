# shellcheck shell=sh
# What systemd-boot says and is told by variables of the firmware (systemd's boot loader interface), for mos-refused.sh and
# mos-starts.sh. Texts are split, so no file name patterns (set -f).
variables=/sys/firmware/efi/efivars
loader=4a67b082-0a4c-41cf-b6c7-440b29bb8c4f

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
