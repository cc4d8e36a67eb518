"""Nouns an operator says aloud, with their units. Standard library only."""
