"""Compile: from the catalog to what one server needs. (Signature; the body follows.)"""

from __future__ import annotations

from usp.manager.catalog import Catalog
from usp.snapshot import Content


def compile(catalog: Catalog, server: str) -> Content:
    """The content of a snapshot for the Proxy Server of that name; UspError `item.not_found` or `compile.invalid`."""
    raise NotImplementedError
