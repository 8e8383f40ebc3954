"""HRNet weights from elsewhere: the authors' pose and ImageNet files, and others that keep their names."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physpose.errors import InputError
from physpose.networks.hrnet import HRNet
from physpose.networks.weights import Mismatch, mismatch, read_safetensors

HEAD = "final_layer."
OTHER_HEADS = ("classifier.", "incre_modules.", "downsamp_modules.", "last_layer.")
WRAPPERS = ("module.", "backbone.", "keypoint_head.")  # of data-parallel training, and of MMPose


@dataclass(frozen=True, kw_only=True)
class LoadedWeights:
    """What came out of a file of HRNet weights."""

    loaded: int  # tensors
    left_out: tuple[str, ...]  # in the file but of another head, or of an exchange that this network ends without
    untrained: tuple[str, ...]  # in the network but not in the file: its own head


def load_hrnet_weights(model: HRNet, path: str | Path, *, new_head: bool = False) -> LoadedWeights:
    """Fill an HRNet from a .safetensors or a PyTorch file, read without unpickling anything but tensors.

    Args:
        model: as the file says: ``hrnet("w32", n_keypoints=17)`` for the authors' COCO files, 16 for MPII; with
            ``n_keypoints=None`` any head in the file is left out.
        path: the file.
        new_head: leave the heatmap head as it is, for training on other keypoints.

    Raises:
        InputError: not a weight file, or one of another network; names what is missing, unexpected or of another shape.
            The model is then as it was.
    """
    tensors = {_unwrapped(name): t for name, t in _read(Path(path)).items()}
    own = model.state_dict()
    left_out = tuple(n for n in tensors if n not in own and _may_be_left_out(n, model))
    if new_head:
        left_out += tuple(n for n in tensors if n.startswith(HEAD) and n in own)
    kept = {n: t for n, t in tensors.items() if n not in left_out}
    untrained = tuple(n for n in own if n.startswith(HEAD) and n not in kept) if new_head else ()
    difference = mismatch(model, kept | {n: own[n] for n in untrained})
    if difference:
        raise InputError(f"{path} holds other weights than this HRNet's. {difference}{_advice(difference)}")
    model.load_state_dict(kept, strict=False)
    return LoadedWeights(loaded=len(kept), left_out=left_out, untrained=untrained)


def _may_be_left_out(name: str, model: HRNet) -> bool:
    if name.startswith(OTHER_HEADS) or (name.startswith(HEAD) and model.config.n_keypoints is None):
        return True
    last = f"stage4.{model.config.modules[2] - 1}.fuse_layers."
    return not model.config.all_scales and name.startswith(tuple(f"{last}{i}." for i in (1, 2, 3)))


def _advice(difference: Mismatch) -> str:
    if any(s.startswith(HEAD) for s in difference.shapes):
        return ". The heatmap head is of another number of keypoints: new_head=True leaves it out, to be trained"
    if any(n.startswith(HEAD) for n in difference.missing):
        return ". The file has no heatmap head: new_head=True keeps the model's own, to be trained"
    return ""


def _unwrapped(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"{path} is no PyTorch file of plain weights ({str(error).splitlines()[0]})") from error
    return _tensors(content, path)


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        content = content.get("state_dict", content)
        if isinstance(content, Mapping) and content and all(isinstance(t, Tensor) for t in content.values()):
            return dict(content)
    raise InputError(f"{path} holds no dictionary of named tensors")
