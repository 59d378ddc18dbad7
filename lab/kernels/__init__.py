"""The kernel lab: generated scenarios on real kernels in QEMU, oomsayer's prediction first, then the OOM."""
