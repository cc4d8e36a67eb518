"""``python -m tests.reliability.simulation --seeds 100 --start-seed 1 --json``."""

from __future__ import annotations

import argparse
import json
import sys
import time

from .report import Report, quiet
from .town import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.simulation", description=__doc__)  # fmt: skip
    parser.add_argument("--seeds", type=int, default=100, help="how many towns")
    parser.add_argument("--start-seed", type=int, default=1, metavar="SEED")
    parser.add_argument("--seconds", type=float, help="stop after so long, whatever is left")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    options = parser.parse_args()
    quiet()
    report, began = Report(), time.monotonic()
    for seed in range(options.start_seed, options.start_seed + options.seeds):
        result = run(seed)
        report.add(result)
        for violation in result.violations:
            print(violation, file=sys.stderr)
        if sys.stderr.isatty():
            print(f"\r{report.line()}", end="", file=sys.stderr)
        if options.seconds is not None and time.monotonic() - began > options.seconds:
            break
    content = report.content(time.monotonic() - began)
    print(json.dumps(content) if options.json else report.line())
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
