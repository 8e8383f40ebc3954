"""Run the Python of README.md, all blocks in order, in an empty folder. Not a pytest file: it fits a clip."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def main() -> int:
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    if not blocks:
        print("README.md has no Python block", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        names: dict[str, object] = {"__name__": "__main__"}
        for number, block in enumerate(blocks, start=1):
            exec(compile(block, f"README.md, Python block {number}", "exec"), names)
        os.chdir(README.parent)
    print(f"README.md: {len(blocks)} Python block(s) ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
