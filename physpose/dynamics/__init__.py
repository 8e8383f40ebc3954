"""Rigid-body dynamics of a kinematic chain: one meaning, several engines."""

from physpose.dynamics.algorithms import (
    GRAVITY,
    aba,
    body_velocities,
    center_of_mass,
    centroidal_inertia,
    centroidal_momentum,
    centroidal_momentum_rate,
    crba,
    energy,
    frame_acceleration,
    frame_velocity,
    jacobian,
    momentum_by_body,
    rnea,
    rnea_derivatives,
)
from physpose.dynamics.parameters import BodyParameters, body_parameters

__all__ = [
    "GRAVITY",
    "BodyParameters",
    "aba",
    "body_parameters",
    "body_velocities",
    "center_of_mass",
    "centroidal_inertia",
    "centroidal_momentum",
    "centroidal_momentum_rate",
    "crba",
    "energy",
    "frame_acceleration",
    "frame_velocity",
    "jacobian",
    "momentum_by_body",
    "rnea",
    "rnea_derivatives",
]
