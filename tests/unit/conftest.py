"""`make test` has played the tests of the pure modules once, with coverage, when it comes to all the others."""

from __future__ import annotations

import os

from tests.pure_coverage import pure_modules, sources_of, test_of

if os.environ.get("USP_TEST_COVERED"):
    collect_ignore = [str(test_of(source)) for module in pure_modules() for source in sources_of(module)]
