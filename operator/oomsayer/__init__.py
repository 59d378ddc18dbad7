"""Which process, container and pod the Linux OOM killer takes next, and why.

The folders are the floors of the house, each importing only what stands below it:

    cli                     what people type
    controller | agent      the operator, and the process on every node
    api                     custom resources and vocabulary
    node                    reads a machine into a Snapshot
    forecast                when: headroom, growth, time to OOM; what would change it; whether it was right
    kubelet | kernel        what Kubernetes feeds into the kernel, and what the kernel does with it
"""

__version__ = "0.1.0"
