#!/bin/sh
# Passes on what the signed initrd says about trust, before anything of the root file system runs. /run moves into
# the running system whole.
set -eu
mkdir -p -m 0755 /run/mos
mkdir -p -m 0755 /run/mos/initrd
if [ -d /etc/mos/initrd ]; then
  cp -R /etc/mos/initrd/. /run/mos/initrd/
fi
chmod -R u=rwX,go=rX /run/mos/initrd
