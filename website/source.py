"""What Sphinx reads: the repository's documents where they are, so that links hold, and pages of the code."""

import re
import shutil
from pathlib import Path

from website import commands, document, metrics

REPOSITORY = Path(__file__).parents[1]

PAGES = {
    "Using it": [
        "Cases </docs/cases>",
        "The account </docs/account>",
        "Verdicts </docs/verdicts>",
        "/docs/alerts",
        "/docs/analysis",
        "Reports </docs/report>",
        "/docs/metrics",
    ],
    "Reference": ["/docs/reference/commands", "/docs/reference/metrics", "/docs/reference/json"],
    "What it runs on": ["/docs/kernels", "Overhead </docs/overhead>", "Kernel memory </docs/kmemcg>"],
    "The project": [
        "Architecture </docs/architecture>",
        "/CONTRIBUTING",
        "/docs/releasing",
        "/SECURITY",
        "/CHANGELOG",
    ],
}
"""What stands beside each page, as Sphinx's toctree has it."""

PICTURE = re.compile(
    r'<picture>\n<source media="\(prefers-color-scheme: dark\)" srcset="([^"]+)">\n'
    r'<img src="([^"]+)" alt="([^"]+)">\n</picture>'
)
"""The two pictures of one thing that a forge chooses from."""


def write(folder: Path) -> None:
    """Writes all sources into a folder that is not there yet."""
    shutil.copytree(REPOSITORY / "docs", folder / "docs")
    for name in ("CONTRIBUTING", "SECURITY", "CHANGELOG"):
        shutil.copy(REPOSITORY / f"{name}.md", folder)
    (folder / "index.md").write_text(_index())
    for path in _linked_files(folder):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / path, folder / path)
        if path.suffix == ".md":
            (folder / path).write_text(f"---\norphan: true\n---\n{(REPOSITORY / path).read_text()}")
    made = commands.pages() | {"metrics.md": metrics.page(), "json.md": document.page()}
    for name, text in made.items():
        file = folder / "docs" / "reference" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def _index() -> str:
    """The README, with the picture that fits the page, light or dark, and the list of all pages."""
    readme = PICTURE.sub(
        r"![\3](\2){.only-light}\n![\3](\1){.only-dark}", (REPOSITORY / "README.md").read_text()
    )
    return "\n".join([readme, *(_list(caption, pages) for caption, pages in PAGES.items())])


def _list(caption: str, pages: list[str]) -> str:
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"])


def _linked_files(folder: Path) -> set[Path]:
    """Files of the repository that documents link to and that are in no list, such as dashboards."""
    found = set()
    for page in folder.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            file = (page.parent / target).resolve()
            path = file.relative_to(folder.resolve())
            if not file.exists() and (REPOSITORY / path).is_file():
                found.add(path)
    return found
