"""Builds the site into a folder that it replaces: python -m website FOLDER."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from website.source import write

# Without a cache, and every warning an error: a link that leads nowhere ends the build.
BUILD = ("-m", "sphinx", "--builder", "html", "--fail-on-warning", "--keep-going", "--quiet")


def main() -> int:
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        source, built = Path(work) / "source", Path(work) / "built"
        write(source)
        conf = Path(__file__).parent
        command = [sys.executable, *BUILD, "-d", f"{work}/doctrees", "-c", str(conf), str(source), str(built)]
        status = subprocess.run(command, check=False).returncode
        if status == 0:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(built, folder, ignore=shutil.ignore_patterns(".buildinfo"))
            print(f"kmemtrace: built {folder}/index.html", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
