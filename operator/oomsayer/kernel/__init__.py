"""What Linux does when memory runs out. Pure: data in, verdicts out, no I/O."""
