"""The pumpwatch agent on a pump controller."""

__version__ = "0.1.0"
