"""Runnable simulations of moving bodies whose truth is known: demonstrations, and ground truth for the tests.

``python -m sims`` lists them, from the repository's root; ``python -m sims.walk --picture walk.png`` runs one.
"""

import os

# MuJoCo chooses how to draw when it is imported; without a screen only EGL (or OSMesa, if the user says so) can
if "DISPLAY" not in os.environ and "WAYLAND_DISPLAY" not in os.environ:
    os.environ.setdefault("MUJOCO_GL", "egl")
