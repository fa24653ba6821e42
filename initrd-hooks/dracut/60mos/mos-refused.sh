#!/bin/sh
# A system that the boot loader still counts is on trial: it is started anew, until its tries are used up and the loader
# takes the one before. Any other powers off (mos-refused.service): nobody would be helped by trying again. Nor where
# there is no other, so that the loader goes on with this one for ever: "+0-10" is the tenth try of one that has none left.
counted=/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f
[ -e "$counted" ] || exit 0
# UTF-16; the shell leaves out its zero bytes.
case $(cat "$counted" 2>/dev/null) in *+0-[1-9][0-9]*) exit 0 ;; esac
echo "mos: this system is on trial, and did not start: trying again"
sync
echo b > /proc/sysrq-trigger
# Not reached where that is allowed.
exec systemctl --force --force reboot
