"""What runs inside a guest; nothing on this side imports it."""
