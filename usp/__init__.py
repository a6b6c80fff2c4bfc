"""USP: a secure proxy for partner file transfer (see README.md for the map of this package)."""

import gc

__version__ = "0.1.0"

gc.set_threshold(10_000)
"""Objects that may come into being before Python looks for garbage among them (its default, 700, is less than a login
makes, and a sixth of the time that our imports take)."""
