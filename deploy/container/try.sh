#!/bin/sh
# What the image would run, without an image: builds the static program and runs it as 65532 in a read-only root that holds nothing else.
# As root, with the target x86_64-unknown-linux-musl of rustup and Debian's musl-tools. From the root of the repository.
# With the program as its argument, nothing is built.
set -eu
if [ $# -eq 0 ]; then
    target=$(uname -m)-unknown-linux-musl
    cargo build --quiet --release --locked --target "$target" -p adit --bin adit
    set -- "${CARGO_TARGET_DIR:-target}/$target/release/adit"
fi
program=$1
root=$(mktemp -d)
trap 'umount "$root" 2>/dev/null || true; rmdir "$root"' EXIT
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs "$root"
install -D -m 0755 "$program" "$root/usr/bin/adit"
mount -o remount,ro "$root"
echo "$(stat -c %s "$program") bytes; needs: $(ldd "$program" 2>&1 | tr -d '\t' | head -1)"
inside() {
    # With a loopback of its own and nothing else; the change of user takes all capabilities away, and no program gives them back.
    unshare --net --pid --fork sh -euc 'ip link set lo up; root=$1; shift
        exec setpriv --no-new-privs chroot --userspec=65532:65532 --groups= "$root" /usr/bin/adit "$@"' sh "$root" "$@"
}
inside --version
inside demo --once
echo "as 65532, in a root of one file: well"
