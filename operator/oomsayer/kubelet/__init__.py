"""What Kubernetes feeds into the kernel: cgroup names, oom_score_adj. Pure."""
