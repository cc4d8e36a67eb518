"""Chooses, configures, starts and stops the real things."""
