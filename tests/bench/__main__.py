"""`python -m tests.bench [NAME...] [OPTIONS]`: measure; all of them without a name. A benchmark prints what it found.

Nothing is asserted on time: machines differ. A new one is a module here, or a package, with
`run(options) -> Iterator[object]`, whose lines are printed as they come, and its name. It may have options of its own:
`arguments(parser)`.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Final

BENCHES: Final = {
    "gateways": "tests.bench.gateways.run",
    "catalog": "tests.bench.catalog",
    "push": "tests.bench.push",
    "inspection": "tests.bench.inspection",
}


def main() -> None:
    benches = {name: import_module(module) for name, module in BENCHES.items()}
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHES)}")
    for name, bench in benches.items():
        if hasattr(bench, "arguments"):
            bench.arguments(parser.add_argument_group(name, (bench.__doc__ or "").partition("\n")[0]))
    options = parser.parse_args()
    names = options.name or list(BENCHES)
    if unknown := set(names) - BENCHES.keys():
        parser.error(f"there is no benchmark called {', '.join(unknown)}")
    for name in names:
        print(f"\n{name}", flush=True)
        for line in benches[name].run(options):
            print(line if isinstance(line, str) else f"  {line}", flush=True)


if __name__ == "__main__":
    main()
