"""The documentation builds without a warning, shows every page, and names only what is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import run_readme
import yaml

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed")
def test_the_site_builds_without_a_warning(tmp_path):
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "-f",
        ".ci/mkdocs.yml",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    interface = (tmp_path / "api/index.html").read_text(encoding="utf-8")
    assert "The most probable motion of a physical skeleton" in interface  # from the docstring of fit


def test_every_page_is_in_the_navigation():
    navigation = yaml.safe_load((ROOT / ".ci" / "mkdocs.yml").read_text())["nav"]
    assert sorted(page for entry in navigation for page in entry.values()) == [p.name for p in PAGES]


def test_every_page_with_python_is_run():
    with_python = {p.stem for p in PAGES if run_readme.blocks(p)}
    assert with_python == set(run_readme.PAGES)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda p: p.name)
def test_files_that_a_page_names_exist(page):
    named = re.findall(r"\b(?:benchmarks|tests|docs|skeletons|sims)/[\w/.]*\w\.\w+", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []
