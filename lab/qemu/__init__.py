"""QEMU machines: what they boot, and how to start, reach, save and go on with one."""
