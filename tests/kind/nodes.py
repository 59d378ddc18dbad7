"""The workers of the cluster that stories are played on."""

GROUP_NODE, SINGLE_NODE = "oomsayer-worker", "oomsayer-worker2"
"""On worker2 the kubelet has singleProcessOOMKill: true."""
