"""What is true on this machine: /proc and the cgroup tree under a given root, read into a Snapshot."""
