"""The process on every node: sample, decide what is worth saying, report. Standard library only."""
