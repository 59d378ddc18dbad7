"""When memory runs out: how much room is left in each domain. Pure."""
