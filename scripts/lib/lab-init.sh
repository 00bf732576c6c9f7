#!/usr/bin/env bash
# The first process of a lab's machine, in namespaces of its own (processes, network, mounts, host name). Whoever kills it
# ends the machine at once with all its processes, its network and its mounts, as a loss of power would.
#
#   lab-init.sh DIRECTORY NAME
#
# DIRECTORY holds what survives that: etc-docker, which is to be /etc/docker, and lent, a list of directories and where
# they are to be seen, each "ro FROM TO" or "rw FROM TO". /proc is still that of the machine around.
set -euo pipefail

directory=$1
# The pid and the start time by which the machine around knows this process, before anything else is there.
read -r stat </proc/self/stat
read -r -a fields <<<"${stat##*) }"
printf '%s %s\n' "${stat%% *}" "${fields[19]}" >"$directory/init.new"
mv "$directory/init.new" "$directory/init"

mount --make-rprivate /
mount -t proc proc /proc
# What a boot begins with empty. It hides the sockets of engines that this machine has nothing to do with, too.
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir /run/lock
mount --bind "$directory/etc-docker" /etc/docker
if [[ -e $directory/lent ]]; then
    while read -r mode from to; do
        mount --bind "$from" "$to"
        mount -o "remount,bind,$mode" "$to"
    done <"$directory/lent"
fi
hostname "$2"
ip link set lo up
touch "$directory/ready"
# Reaps what loses its parent, which bash does while it waits.
while :; do
    sleep 3600 &
    wait
done
