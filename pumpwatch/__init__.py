"""pumpwatch: watch a town's sewer manhole pumps and repair them before they fail."""

__version__ = "0.1.0"
