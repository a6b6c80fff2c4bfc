"""`python -m tests.sim [--seeds N] [--first N] [--seed N]`: many histories, or one of them, told."""

from __future__ import annotations

import argparse
import sys
import time

from tests.sim.history import play


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("--seeds", type=int, default=1000, help="how many histories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="this one only, told as it goes")
    chosen = parser.parse_args()
    seeds = range(chosen.first, chosen.first + chosen.seeds) if chosen.seed is None else [chosen.seed]
    started, failed = time.monotonic(), []
    for seed in seeds:
        try:
            told = play(seed)
        except AssertionError as error:
            failed.append(seed)
            print(f"seed {seed}: {error}\n", flush=True)
        else:
            if chosen.seed is not None:
                print("\n".join(told))
    print(f"{len(seeds)} histories in {time.monotonic() - started:.0f} s, {len(failed)} failed {failed or ''}".rstrip())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
