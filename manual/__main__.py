"""Writes share/ anew: python -m manual."""

import shutil

from manual.texts import SHARE, texts


def main() -> None:
    made = texts()
    shutil.rmtree(SHARE, ignore_errors=True)
    for name, text in made.items():
        file = SHARE / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


if __name__ == "__main__":
    main()
