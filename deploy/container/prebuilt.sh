#!/bin/sh
# An image of a static program that was built already. No base image, nothing from a registry. From the root of the repository:
#   cargo build --release --target x86_64-unknown-linux-musl -p adit --bin adit
#   sh deploy/container/prebuilt.sh target/x86_64-unknown-linux-musl/release/adit [NAME]
# With BUILDER="podman build", "docker build" or, unless given, "buildah build"; its further options as it reads them from there.
set -eu
program=${1:?the program}
name=${2:-adit}
here=$(dirname "$0")
if readelf --program-headers "$program" | grep -q INTERP; then
    echo "$program needs a dynamic linker, which the image has not: build it for musl" >&2
    exit 1
fi
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
install -D -m 0755 "$program" "$context/image/usr/bin/adit"
# Nobody debugs in there: without line numbers it is a quarter of the size.
strip --strip-debug "$context/image/usr/bin/adit"
install -d -m 0755 "$context/image/etc/adit"
install -d -m 0700 "$context/run"
# Docker's own form, for the others leave the health check out.
# shellcheck disable=SC2086
${BUILDER:-buildah build --format docker --isolation chroot} --file "$here/Containerfile.prebuilt" \
    --build-arg VERSION="$("$program" --version | cut -d ' ' -f 2)" --tag "$name" "$context"
