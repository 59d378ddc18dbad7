"""Scenarios: who lives where with how much memory, and which domain runs out. Made from a seed, kept as JSON."""
