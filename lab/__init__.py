"""The lab: how oomsayer's tests and its demo get a real Kubernetes cluster.

Run it as ``python -m lab``; docs/lab.md tells how it is built. It needs the standard library only.
"""
