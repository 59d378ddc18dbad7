"""kind clusters: on this machine where Docker or Podman runs, else in a QEMU machine with Docker."""
