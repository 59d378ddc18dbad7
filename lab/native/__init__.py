"""A cluster without a registry, Docker or KVM: the control plane as processes, the nodes as QEMU machines."""
