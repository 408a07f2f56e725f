#!/applets/busybox sh
# The first process of a guest: runs the test binaries that /plan names and ends the
# guest. Lines that begin with @xdpfw are read by xtask.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/applets HOME=/root TERM=dumb

# Runs a test binary with these arguments.
run() {
    name=$1
    shift
    echo "@xdpfw begin $name"
    read -r begin _ </proc/uptime
    # Not on a terminal, as little as in a pipeline of continuous integration.
    "/tests/$name" "$@" </dev/null 2>&1 | cat
    status=$?
    read -r end _ </proc/uptime
    echo "@xdpfw end $name $status $((${end%.*} - ${begin%.*}))"
}

set -o pipefail
/applets/busybox --install -s /applets
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /run /tmp /root
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t bpf bpf /sys/fs/bpf
ip link set lo up

for module in /modules/*; do
    insmod "$module" || echo "$module cannot be loaded"
done

. /plan
echo "@xdpfw done"
# All of it must have left the console.
sleep 1
reboot -f
