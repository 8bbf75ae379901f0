"""python -m dashboards.source.build [--check]: writes the dashboards, or says which are not current."""

import argparse
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.source.cgroup import cgroup
from dashboards.source.fleet import fleet
from dashboards.source.health import health
from dashboards.source.overview import overview

FOLDER = Path(__file__).parents[1] / "grafana"


def texts() -> dict[str, str]:
    """JSON by file name."""
    made = [build().build() for build in (overview, fleet, cgroup, health)]
    encoder = JSONEncoder(sort_keys=True, indent=2)
    return {f"{one.uid}.json": encoder.encode(one) + "\n" for one in made}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    old = []
    for name, text in texts().items():
        file = FOLDER / name
        if file.exists() and file.read_text() == text:
            continue
        old.append(name)
        if not check:
            file.write_text(text)
    if check and old:
        print(f"not current: {', '.join(old)}; run: make dashboards", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
