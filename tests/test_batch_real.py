"""A batch of a real clip, with a real detector."""

from __future__ import annotations

import numpy as np
import pytest
from batch_cases import table

import physpose
from physpose.batch import run_batch


def test_a_real_clip_gives_what_fit_gives(tmp_path, data_dir):
    for package in ("mediapipe", "av"):
        pytest.importorskip(package, reason="the extra 'video' is not installed")
    clip = data_dir / "opencap_visualizer_samples/public/samples/walk/video.mp4"
    if not clip.is_file():
        pytest.skip(f"needs {clip}")
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 4])  # broken: its index is at the end
    manifest = tmp_path / "study.csv"
    manifest.write_text(f"clip,name,height\n{clip},walk,1.6\ncut.mp4,,1.6\n")
    result = run_batch(manifest, tmp_path / "out", workers=1, tables="csv")
    assert (result.done, result.failed) == (1, 1)
    assert "cut.mp4" in table(tmp_path / "out")["cut"]["reason"]
    alone = physpose.fit(str(clip), height=1.6)
    with np.load(tmp_path / "out/clips/walk/result.npz") as saved:
        np.testing.assert_array_equal(saved["q"], alone.q)
        np.testing.assert_array_equal(saved["tau"], alone.tau)
