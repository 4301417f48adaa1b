#!/bin/bash
# The quick part of test_system_debian_long.sh: the amd64 kernel from a virtio disk to a shell, saved
# and restored on the way, with each network card.
export SYSTEM_FLAVOURS=amd64 SYSTEM_WAYS=virtio:restored
exec "$(dirname "$0")/test_system_debian_long.sh"
