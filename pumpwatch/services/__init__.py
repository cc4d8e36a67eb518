"""First this, then that."""
