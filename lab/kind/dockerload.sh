#!/bin/sh
# Gives an image to the Docker of a root that does not run: dockerload.sh ROOT ARCHIVE
# Runs the root's own dockerd, in namespaces of its own that take every mount and process with them.
set -e
root=$1
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
chroot "$root" dockerd --config-file /etc/docker/daemon.json --iptables=false --ip6tables=false --bridge=none \
	--pidfile /run/lab-docker.pid &
daemon=$!
tries=0
until chroot "$root" docker version > /dev/null 2>&1; do
	tries=$((tries + 1))
	[ "$tries" -lt 300 ] || { echo "dockerd did not start" >&2; exit 1; }
	sleep 0.1
done
chroot "$root" docker load < "$2"
kill "$daemon"
wait "$daemon" || true
