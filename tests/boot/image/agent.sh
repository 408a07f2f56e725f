#!/bin/sh
# Runs the commands that come over a serial channel, one a line, and sends back what they print,
# with `|` before each line, and how they end. So the guest is driven whatever becomes of its
# network.
channel=/dev/virtio-ports/agent
until [ -e $channel ]; do sleep 0.2; done
exec 3<>$channel
echo "ready $(cat /proc/sys/kernel/random/boot_id)" >&3
while IFS= read -r command <&3; do
    sh -c "$command" </dev/null >/run/agent.out 2>&1 3>&-
    status=$?
    sed 's/^/|/;$a\' /run/agent.out >&3
    echo "end $status" >&3
done
