"""From videos and keypoints of a moving person to the motion of a physical skeleton. SI units, z up.

The names below are loaded on first use, so that ``import physpose`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from physpose import dynamics as dynamics
    from physpose.chain import KinematicChain as KinematicChain
    from physpose.checking import check as check
    from physpose.errors import PhysposeError as PhysposeError
    from physpose.estimation.settings import EstimationSettings as EstimationSettings
    from physpose.inverse import inverse_dynamics as inverse_dynamics
    from physpose.pipeline import fit as fit
    from physpose.plausibility import PlausibilitySettings as PlausibilitySettings
    from physpose.result import FitResult as FitResult
    from physpose.saved import load_result as load_result
    from physpose.skeleton import load_skeleton as load_skeleton

__version__ = "0.1.0"

_HOME = {
    "EstimationSettings": "physpose.estimation.settings",
    "FitResult": "physpose.result",
    "KinematicChain": "physpose.chain",
    "PhysposeError": "physpose.errors",
    "PlausibilitySettings": "physpose.plausibility",
    "check": "physpose.checking",
    "fit": "physpose.pipeline",
    "inverse_dynamics": "physpose.inverse",
    "load_result": "physpose.saved",
    "load_skeleton": "physpose.skeleton",
}
_SUBPACKAGES = ("dynamics",)

__all__ = ["__version__", *sorted((*_HOME, *_SUBPACKAGES))]


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"physpose.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'physpose' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
