"""`make bench`: every measurement, as ratios and CPU seconds; `python -m tests.bench NAME…` for some.

Machines are shared and noisy: read ratios within one run, not absolute figures between runs.
"""

import importlib
import os
import platform
import sys
import time

PARTS = ("log", "collector", "decode", "checks", "assemble", "sessions", "baselines", "records")
# these need Java and Maven, for a broker
ON_KAFKA = ("kafka-collector", "kafka-scale")
LONG = ("memory", "delay")


def main() -> int:
    """Print a table for each part; the long ones and those on Kafka run only when named or with `all`."""
    names = sys.argv[1:] or list(PARTS)
    if names == ["all"]:
        names = [*PARTS, *ON_KAFKA, *LONG]
    known = (*PARTS, *ON_KAFKA, *LONG)
    unknown = set(names) - set(known)
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)} and all")
        return 2
    print(
        f"{time.strftime('%Y-%m-%d')}  Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}"
    )
    failed = 0
    for name in names:
        print(f"\n== {name}", flush=True)
        if name in LONG:
            sys.argv = [name]
            failed |= importlib.import_module(f"tests.bench.{name}").main()
            continue
        for measure, value, unit in importlib.import_module(f"tests.bench.bench_{name.replace('-', '_')}").run():
            print(f"{measure:<64} {value:>12,.2f} {unit}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
