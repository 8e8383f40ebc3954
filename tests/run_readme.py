"""Run the Python of README.md and then of docs/, all blocks in order, in an empty folder; pages go on with its names.

Not a pytest file: it fits a clip.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("index", "batch", "coming_from", "numbers", "physics", "extend")  # as .ci/mkdocs.yml has them


def main() -> int:
    names: dict[str, object] = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for page in (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in PAGES)):
            found = blocks(page)
            for number, block in enumerate(found, start=1):
                exec(compile(block, f"{page.name}, Python block {number}", "exec"), names)
            print(f"{page.name}: {len(found)} Python block(s) ran", flush=True)
            if not found:
                print(f"{page.name} has no Python block", file=sys.stderr)
                return 1
        os.chdir(ROOT)
    return 0


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


if __name__ == "__main__":
    sys.exit(main())
