"""Where MediaPipe's pose model comes from: a given path, the user's cache, its official address, or a wheel."""

from __future__ import annotations

import tempfile
from pathlib import Path

from physpose.detectors.tflite_metadata import bundle, with_normalization
from physpose.download import DownloadError, cache_dir, download, replacing, wheel_members
from physpose.errors import InputError

WHAT = "MediaPipe pose model (Apache-2.0)"
NAME = "pose_landmarker_full.task"
# Version 1 of the official bundle. Its checksum is the one that many projects which pin it publish.
URL = f"https://storage.googleapis.com/mediapipe-models/pose_landmarker/pose_landmarker_full/float16/1/{NAME}"
SHA256 = "5134a3aad27a58b93da0088d431f366da362b44e3ccfbe3462b3827a839011b1"

# The last wheel that carried the two models (Apache-2.0): member, its SHA-256, input mean and standard deviation.
PACKAGE, VERSION = "mediapipe", "0.10.21"
MEMBERS = {
    "pose_detector.tflite": (
        "mediapipe/modules/pose_detection/pose_detection.tflite",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        127.5,
        127.5,
    ),
    "pose_landmarks_detector.tflite": (
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        0.0,
        255.0,
    ),
}


def pose_model(path: str | Path | None = None) -> Path:
    """Path of a pose landmarker bundle: ``path`` if given, else the cached one, which is fetched on first use.

    Raises:
        InputError: ``path`` is not there.
        DownloadError: neither the official address nor the package index can be reached.
    """
    if path is not None:
        if not Path(path).is_file():
            raise InputError(f"no pose model at {path}; expected a MediaPipe pose landmarker bundle (.task)")
        return Path(path)
    cached = cache_dir() / NAME
    if cached.exists():
        return cached
    try:
        return download(URL, SHA256, cached, WHAT)
    except DownloadError as no_address:
        try:
            return bundle_from_wheel(cached)
        except DownloadError as no_wheel:
            raise DownloadError(
                f"{no_address}; {no_wheel}; else put the file of that address at {cached}, or give model=PATH"
            ) from no_wheel


def bundle_from_wheel(path: Path) -> Path:
    """Build the bundle at ``path`` from the models in the wheel of MediaPipe's last version that had them."""
    with tempfile.TemporaryDirectory(prefix="physpose-") as folder:
        parts = {name: Path(folder) / name for name in MEMBERS}
        wheel_members(PACKAGE, VERSION, {member: (sha, parts[n]) for n, (member, sha, _, _) in MEMBERS.items()})
        models = {n: with_normalization(parts[n].read_bytes(), mean, std) for n, (_, _, mean, std) in MEMBERS.items()}
    with replacing(path) as part:
        part.write_bytes(bundle(models))
    return path
