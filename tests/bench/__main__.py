"""`python -m tests.bench [NAME...]`: measure; all of them without a name. A benchmark prints what it found.

Nothing is asserted on time: machines differ. A new one is a module here with `run() -> Iterator[Figure]`, and its name.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Final

BENCHES: Final = ("catalog",)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHES)}")
    names = parser.parse_args().name or BENCHES
    if unknown := set(names) - set(BENCHES):
        parser.error(f"there is no benchmark called {', '.join(unknown)}")
    for name in names:
        print(f"\n{name}", flush=True)
        for figure in import_module(f"tests.bench.{name}").run():
            print(f"  {figure}", flush=True)


if __name__ == "__main__":
    main()
