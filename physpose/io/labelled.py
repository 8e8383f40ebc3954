"""A result as an xarray data set: named dimensions and units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from physpose.errors import MissingPackageError
from physpose.types import Motion, Sigma

if TYPE_CHECKING:
    import xarray as xr

    from physpose.result import FitResult

MIXED = "m or rad"  # a free joint's and slides' are metres, the others' radians
VARIABLES = {  # name -> dimensions after time, unit, in words
    "q": (("position_column",), MIXED, "pelvis position, quaternion xyzw, coordinates"),
    "v": (("column",), f"({MIXED})/s", "pelvis linear and angular velocity in the pelvis frame, rates"),
    "a": (("column",), f"({MIXED})/s^2", "time derivative of v"),
    "tau": (("column",), "N or N.m", "generalized forces; the first six are the residual at the pelvis, its frame"),
    "power": (("column",), "W", "tau v"),
    "positions": (("body", "axis"), "m", "body origins, world"),
    "com": (("axis",), "m", "centre of mass, world"),
}


def to_dataset(result: FitResult) -> xr.Dataset:
    """The data set of a result; see ``FitResult.to_xarray``. Standard deviations are named "sigma_" + variable."""
    try:
        import xarray as xr
    except ImportError:
        raise MissingPackageError("xarray", "xarray", "to_xarray") from None
    variables = _variables(result) | {"rotations": (("time", "body", "axis", "body_axis"), result.rotations,
                                                    {"units": "1", "long_name": "R_world_body"})}  # fmt: skip
    variables |= _inertial(result)
    variables["contact_active"] = (("time", "contact"), result.contacts.active, {"units": "1"})
    if result.sigma is not None:
        variables |= {f"sigma_{name}": x for name, x in _variables(result.sigma).items()}
        variables["sigma_q"] = (("time", "column"), result.sigma.q, {"units": MIXED, "long_name": "tangent space of q"})
    about = {
        "source": result.source, "skeleton": result.skeleton.name, "mass_kg": result.skeleton.mass,
        "gravity_m_per_s2": result.gravity, "world": "z up, right-handed", "warnings": "\n".join(result.warnings),
    }  # fmt: skip
    return xr.Dataset(variables, coords=_coordinates(result), attrs=about)


def _inertial(result: FitResult) -> dict[str, Any]:
    """The whole body's inertia and each body's momentum."""
    about = "about the whole body's centre of mass, world axes"
    h, dims = result.momentum_by_body, ("time", "body", "axis")
    relative = f"{about}, with velocities relative to it"
    return {
        "inertia": (("time", "axis", "other_axis"), result.inertia, {"units": "kg.m^2", "long_name": about}),
        "body_linear_momentum": (dims, h[..., :3], {"units": "kg.m/s", "long_name": "world axes"}),
        "body_angular_momentum": (dims, h[..., 3:], {"units": "kg.m^2/s", "long_name": relative}),
    }


def _coordinates(result: FitResult) -> dict[str, Any]:
    from physpose.result import result_columns

    body = result.skeleton
    columns = [f"{root}_{axis}" for root in ("pelvis_linear", "pelvis_angular") for axis in "xyz"]
    tail = [c.name for c in result_columns(body)]
    free = columns if body.nv == len(columns) + len(tail) else []
    return {
        "time": ("time", result.time, {"units": "s"}),
        "column": ("column", [*free, *tail]),
        "body": ("body", list(body.body_names)),
        "contact": ("contact", list(result.contacts.points)),
        "axis": ("axis", list("xyz")),
        "other_axis": ("other_axis", list("xyz")),
        "body_axis": ("body_axis", list("xyz")),
    }


def _variables(values: Motion | Sigma) -> dict[str, Any]:
    """What a motion and its standard deviations have in common: (dimensions, array, attributes)."""
    out: dict[str, Any] = {
        name: (("time", *dims), getattr(values, name), {"units": unit, "long_name": words})
        for name, (dims, unit, words) in VARIABLES.items()
        if not (name == "q" and isinstance(values, Sigma))
    }
    h, energy = values.momentum, values.energy
    force = values.force if isinstance(values, Sigma) else values.contacts.force
    out["linear_momentum"] = (("time", "axis"), h[:, :3], {"units": "kg.m/s"})
    out["angular_momentum"] = (("time", "axis"), h[:, 3:], {"units": "kg.m^2/s", "long_name": "about the CoM"})
    out["kinetic_energy"] = (("time",), energy.kinetic, {"units": "J"})
    out["potential_energy"] = (("time",), energy.potential, {"units": "J"})
    out["contact_force"] = (("time", "contact", "axis"), force, {"units": "N", "long_name": "world, on the body"})
    return out
