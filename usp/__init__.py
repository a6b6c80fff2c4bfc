"""USP: a secure proxy for partner file transfer (see README.md for the map of this package)."""

__version__ = "0.1.0"
