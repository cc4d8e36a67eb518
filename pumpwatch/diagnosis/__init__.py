"""Opinions: gates, rules, references, change detection, the forest, causes."""
