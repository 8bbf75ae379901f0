"""Makes the BPF C one text for BCC, from a checkout or from an installed package."""

import re
from pathlib import Path

from kmemtrace.errors import CannotError

_LOCAL_INCLUDE = re.compile(r'^#include "([a-z_]+\.h)"$', re.MULTILINE)


def probes_folder() -> Path:
    """Returns where the probes are: beside the package in a checkout, within it once installed.

    Raises:
        CannotError: They are in neither place.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "probes", package.parent / "probes"):
        if (folder / "include").is_dir():
            return folder
    raise CannotError(f"The BPF sources are missing beside {package}. Install kmemtrace again.")


def program_text(name: str) -> str:
    """Returns the source file `name` of the probes folder with its local headers put in place, each once.

    BCC rewrites map accesses in the main file only, so headers of ours must be part of it. The #line
    directives keep compiler messages true.
    """
    folder = probes_folder()
    seen: set[str] = set()

    def expand(file: str) -> str:
        text = (folder / file).read_text(encoding="utf-8")

        def include(match: re.Match[str]) -> str:
            header = match.group(1)
            if header in seen:
                return ""
            seen.add(header)
            back = text.count("\n", 0, match.start()) + 2
            return f'{expand(header)}\n#line {back} "{file}"'

        return f'#line 1 "{file}"\n{_LOCAL_INCLUDE.sub(include, text)}'

    return expand(name)
