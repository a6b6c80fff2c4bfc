"""`make test` plays the tests of the pure modules once, with coverage, and leaves them out here."""

from __future__ import annotations

import os

from tests.pure_coverage import pure_modules, sources_of, test_of

if os.environ.get("USP_TEST_COVERED"):
    collect_ignore = [str(test_of(source)) for module in pure_modules() for source in sources_of(module)]
