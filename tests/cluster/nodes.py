"""The nodes of the cluster that stories are played on."""

GROUP_NODE, SINGLE_NODE = "node1", "node2"
"""On node2 the kubelet has singleProcessOOMKill: true."""
