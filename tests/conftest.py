"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import sims  # noqa: F401  says how MuJoCo draws without a screen, before anybody loads MuJoCo


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real recordings named by the environment variable PHYSPOSE_DATA; skips without it."""
    folder = os.environ.get("PHYSPOSE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real recordings: set PHYSPOSE_DATA to their folder")
    return Path(folder)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of an HRNet of a few thousand parameters."""
    from network_cases import TINY_HRNET

    from physpose.networks import hrnet

    monkeypatch.setitem(hrnet.CONFIGS, "tiny", TINY_HRNET)
    return "tiny"
