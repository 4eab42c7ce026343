#!/bin/sh
# Decrypts keys of a SOPS file into files: install-secrets.sh FILE DIRECTORY NAME...
# A changed file is replaced by renaming, so that nobody reads half of it.
set -eu
umask 027
source=$1 directory=$2
shift 2
for name in "$@"; do
    new=$directory/.$name.new
    trap 'rm -f "$new"' EXIT
    sops decrypt --extract "[\"$name\"]" "$source" >"$new"
    cmp -s "$new" "$directory/$name" || mv "$new" "$directory/$name"
    rm -f "$new"
done
