#!/bin/sh
# Fills the container store of a node's root with images, at this machine's own speed: preload.sh ROOT ARCHIVE...
# Runs the root's own containerd, in namespaces of its own that take every mount and process with them.
set -e
root=$1
shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' > "$root/run/preload.toml"
chroot "$root" containerd --config /run/preload.toml > /dev/null &
ctr="chroot $root ctr --namespace k8s.io"
tries=0
until $ctr version > /dev/null 2>&1; do
	tries=$((tries + 1))
	[ "$tries" -lt 300 ] || { echo "containerd did not start" >&2; exit 1; }
	sleep 0.1
done
for archive in "$@"; do
	$ctr images import - < "$archive"
done
for image in $($ctr images list --quiet); do
	$ctr images label "$image" io.cri-containerd.pinned=pinned
done
kill %1 2> /dev/null || kill $!
wait
