"""Runnable simulations of moving bodies whose truth is known: demonstrations, and ground truth for the tests.

``python -m sims`` lists them, from the repository's root; ``python -m sims.walk --picture walk.png`` runs one.
"""

import os
from ctypes.util import find_library


def offscreen() -> str | None:
    """How MuJoCo may draw without a screen here; None: not at all.

    It chooses when it is imported, and told of a library that is missing it cannot even be imported.
    """
    return next((name for name, library in (("egl", "EGL"), ("osmesa", "OSMesa")) if find_library(library)), None)


if not {"DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"} & {*os.environ} and (way := offscreen()):
    os.environ["MUJOCO_GL"] = way
