#!/bin/sh
# The key of an encrypted state: what the TPM answers when PCR 7 says that this firmware has started a kernel image of
# these keys. It is the HMAC of a constant under a key that the TPM has made and never shows, and that nobody can use
# while PCR 7 has another value: neither another system, nor this one once its initrd has closed PCR 7. So nobody else
# can make a volume that this key opens, which is more than sealing gives: anybody can seal a key that he knows.
#
# The volume is LUKS2. Its header is nobody's word for anything: it is looked at in memory (HEADER is a file there, so
# that the disk cannot say one thing and then another), and everything in it that decides how keys and data are
# encrypted has to be what was made here. A keyslot "encrypted" with nothing would be opened by any key.
#
# mos-state-key new HEADER DEVICE KEYFILE     makes a key, and a header for that device
# mos-state-key find HEADER KEYFILE           the key for a header
# KEYFILE is in a directory of its own that nobody else can read, and where what is in between goes, too. It goes to
# whoever calls as it is, 32 bytes. PCR 7 is read now; a key of another value is no key of this device.
set -euf
umask 077
verb=$1 header=$2
case $verb in
new) device=$3 key=$4 ;;
find) key=$3 ;;
*) exit 2 ;;
esac
cd "${key%/*}"
export TPM2TOOLS_TCTI="${TPM2TOOLS_TCTI:-device:/dev/tpmrm0}"
# The storage root key (TCG TPM v2.0 Provisioning Guidance, section 7.8), with the template that systemd uses, too.
parent=0x81000001
cipher=aes-xts-plain64
hash=sha256

refuse() {
  [ ! -s errors ] || head -n 4 errors >&2
  echo "mos: $*" >&2
  exit 1
}

tpm() {
  tpm2 "$@" > answer 2> errors
}

# What the public area of our key begins with (TPM 2.0 part 2, section 12.2.4): its length; keyedHash, sha256; fixedTPM,
# fixedParent, sensitiveDataOrigin, noDA and sign, so that the TPM has made it and no password uses it; the policy; an
# HMAC of sha256; and how long what is unique of it is.
expect_public() {
  tpm createpolicy -Q --policy-pcr -l "$hash:7" -L policy || refuse "cannot read PCR 7"
  printf '\000\120\000\010\000\013\000\004\004\062\000\040' > expected
  cat policy >> expected
  printf '\000\005\000\013\000\040' >> expected
}

derive() {
  head -c 50 public > begin
  [ "$(basenc --base16 -w0 begin)" = "$(basenc --base16 -w0 expected)" ] ||
    refuse "PCR 7 is not the one that the state was encrypted under: other Secure Boot keys, Secure Boot off, or a kernel image of another key; or its key is not one that this TPM has made"
  tpm load -Q -C "$parent" -u public -r private -c object || refuse "the key of the state is not of this TPM"
  # Salted to the storage key, and its answer encrypted: nobody on the bus sees the key.
  tpm flushcontext -t
  tpm startauthsession --policy-session -c "$parent" -S session || refuse "the TPM begins no session"
  tpm sessionconfig session --enable-encrypt || refuse "the TPM encrypts no answers"
  tpm policypcr -Q -S session -l "$hash:7" || refuse "the TPM does not read PCR 7"
  echo "mos-state 1" > message
  tpm hmac -c object -p session:session -o "$key" message || refuse "the TPM does not give the key of the state"
  tpm flushcontext session || :
  [ "$(stat -c %s "$key")" = 32 ] || refuse "the TPM gives a key of another length"
}

# One of a keyslot and of each segment: there is nothing else that is encrypted.
only() {
  found=$(sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p' json | sort -u)
  [ "$found" = "$2" ] || refuse "the header of the state has a $1 that it was not made with:" $found
}

token() {
  found=$(sed -n 's/.*"'"$1"'" *: *"\([A-Za-z0-9_=-]*\)".*/\1/p' json)
  case $found in '' | *[!A-Za-z0-9_=-]*) refuse "the header of the state names no key of a TPM, or several" ;; esac
  echo "$found" | basenc -d --base64url > "$1" || refuse "the header of the state names a key of a TPM that is damaged"
}

expect_public
if [ "$verb" = new ]; then
  if ! tpm readpublic -Q -c "$parent"; then
    tpm createprimary -Q -C o -g "$hash" -G ecc256:null:aes128cfb -c primary \
      -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt' &&
      tpm evictcontrol -Q -C o -c primary "$parent" ||
      refuse "the TPM has no storage key, and its owner a password: clear it in the firmware's setup, or provision it"
    tpm flushcontext -t
  fi
  tpm create -Q -C "$parent" -g "$hash" -G "hmac:$hash" -a 'fixedtpm|fixedparent|sensitivedataorigin|sign|noda' \
    -L policy -u public -r private || refuse "the TPM makes no key"
  tpm flushcontext -t
  derive
  # 16 MiB, which cryptsetup would take by itself. The key is as good as random: nothing is gained by making guesses slow.
  truncate -s 16M "$header"
  cryptsetup luksFormat --batch-mode --type luks2 --header "$header" --offset 32768 --cipher "$cipher" --key-size 512 \
    --hash "$hash" --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file "$key" "$device" 2> errors ||
    refuse "cannot make the header of the state"
  echo '{"type":"mos-tpm2","keyslots":["0"],"public":"'"$(basenc -w0 --base64url public)"'","private":"'"$(basenc -w0 --base64url private)"'"}' |
    cryptsetup token import --json-file - "$header" 2> errors || refuse "cannot put the key's name into the header"
  exit 0
fi
cryptsetup luksDump --dump-json-metadata "$header" > json 2> errors || refuse "the header of the state cannot be read"
only encryption "$cipher"
only hash "$hash"
token public
token private
derive
