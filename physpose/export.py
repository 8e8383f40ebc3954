"""A FitResult's files, each written by one function, all put in place together."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from physpose.conventions import (
    angle_names,
    dependent_coordinates,
    opensim_names,
    q_to_opensim,
    tau_to_opensim,
)
from physpose.errors import InputError
from physpose.io.bvh import write_bvh
from physpose.io.storage import write_storage
from physpose.io.tables import replace_file, write_csv
from physpose.io.trc import write_trc
from physpose.result import FitResult
from physpose.types import Array


def save_result(result: FitResult, out: Path) -> dict[str, Path]:
    """Write all files of a result into the folder ``out``; see ``FitResult.save``."""
    try:
        staging = _staging(out)
        try:
            kinds = [kind for kind in WRITERS if _written(result, kind, staging)]
            _move_into_place(staging, out)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror or error}") from error
    return {kind: out / WRITERS[kind][0] for kind in kinds}


def _written(result: FitResult, kind: str, staging: Path) -> bool:
    """Write one kind of file; False where its format has no form for this body or motion."""
    name, write = WRITERS[kind]
    try:
        write(result, staging / name)
    except InputError:
        if kind not in NOT_ALWAYS:
            raise
        return False
    return True


def _staging(out: Path) -> Path:
    """A new hidden folder on the same file system as ``out``, so that moving is one atomic step."""
    if out.exists() and not out.is_dir():
        raise InputError(f"cannot write to {out}: it is a file, a folder is needed")
    near = out if out.exists() else out.absolute().parent
    near.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=".physpose-", dir=near))


def _move_into_place(staging: Path, out: Path) -> None:
    if not out.exists():
        mask = os.umask(0)
        os.umask(mask)
        staging.chmod(0o777 & ~mask)  # a temporary folder is private, a result is not
        staging.rename(out)
        return
    for name, _ in WRITERS.values():
        if (staging / name).exists():
            os.replace(staging / name, out / name)
        else:
            (out / name).unlink(missing_ok=True)  # of an older result: it is not this one's


# --- the files ------------------------------------------------------------------------------------------------------


def opensim_coordinates(result: FitResult) -> Array:
    """OpenSim's coordinates (T, nv) [rad; m], y up, in the order of ``opensim_names``; NaN in frames without a pose."""
    return q_to_opensim(result.skeleton, result.q)


def write_motion(result: FitResult, path: Path) -> None:
    """OpenSim's coordinates (.mot), also those that follow others: degrees and metres, y up.

    Of a ball joint without names of its own: angles about x, y, z, each after the one before: "left_hip_rx", ...
    """
    c = opensim_coordinates(result)
    columns = dict(zip(opensim_names(result.skeleton), c.T, strict=True)) | dependent_coordinates(result.skeleton, c)
    turning = angle_names(result.skeleton)
    values = [np.rad2deg(x) if name in turning else x for name, x in columns.items()]
    write_storage(path, list(columns), result.time, _stack(values, result), in_degrees=True, title="Coordinates")


def write_torques(result: FitResult, path: Path) -> None:
    """Generalized forces (.sto) as OpenSim's inverse dynamics names them, N.m and N; the root's are the residual."""
    tau = tau_to_opensim(result.skeleton, opensim_coordinates(result), result.tau)
    turning = angle_names(result.skeleton)
    names = [f"{n}_{'moment' if n in turning else 'force'}" for n in opensim_names(result.skeleton)]
    title = "Inverse Dynamics Generalized Forces"
    write_storage(path, names, result.time, tau, in_degrees=False, title=title)


def write_positions(result: FitResult, path: Path) -> None:
    """Joint centres, fitted keypoints and contact points as markers (.trc), mm, y up."""
    names, positions = result.marker_positions()
    names = tuple("_".join(name.split()) for name in names)
    write_trc(path, names, result.time, positions)


def write_arrays(result: FitResult, path: Path) -> None:
    """Every array (.npz, no pickles), and the rest as one JSON text named "about"."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **result_arrays(result))
    replace_file(path, buffer.getvalue())


def result_arrays(result: FitResult) -> dict[str, Any]:
    """Name -> array of everything in a result, as ``result.npz`` holds it."""
    same = ("time", "q", "v", "a", "tau", "positions", "rotations", "com", "momentum", "power", "gravity",
            "inertia", "momentum_by_body")  # fmt: skip
    arrays: dict[str, Any] = {name: getattr(result, name) for name in same}
    arrays |= {"kinetic_energy": result.energy.kinetic, "potential_energy": result.energy.potential}
    arrays |= {"contact_active": result.contacts.active, "contact_force": result.contacts.force}
    measured: dict[str, Any] = {"positions": result.contacts.positions, "free_moment": result.contacts.free_moment}
    measured |= {"valid": result.contacts.valid}
    arrays |= {f"contact_{name}": x for name, x in measured.items() if x is not None}
    if result.contacts.bodies is not None:
        arrays["contact_bodies"] = np.array(result.contacts.bodies, dtype=np.str_)
    arrays["contact_points"] = np.array(result.contacts.points, dtype=np.str_)
    arrays["body_names"] = np.array(result.skeleton.body_names, dtype=np.str_)
    arrays["coordinate_names"] = np.array(result.skeleton.coordinate_names, dtype=np.str_)
    if result.camera is not None:
        c = result.camera
        arrays |= {"camera_R": c.R_camera_world, "camera_t": c.t, "camera_image_size": np.array(c.image_size)}
        arrays |= {"camera_focal": np.array(c.focal), "camera_principal_point": np.array(c.principal_point)}
    if result.keypoints is not None:
        k = result.keypoints
        arrays |= {"keypoint_uv": k.uv[0], "keypoint_confidence": k.confidence[0], "keypoint_names": np.array(k.names)}
    if result.sigma is not None:
        energy = result.sigma.energy
        arrays |= {f"sigma_{name}": value for name, value in vars(result.sigma).items() if name != "energy"}
        arrays |= {"sigma_kinetic_energy": energy.kinetic, "sigma_potential_energy": energy.potential}
    arrays["about"] = np.array(json.dumps(_about(result), default=_plain))
    return arrays


def write_skeleton(result: FitResult, path: Path) -> None:
    """The scaled body as MJCF, in the result's gravity."""
    from physpose.skeleton.mjcf import save_mjcf

    save_mjcf(replace(result.skeleton, gravity=result.gravity), path)


def write_opensim_model(result: FitResult, path: Path) -> None:
    """The scaled body as OpenSim's model, in the result's gravity: ``motion.mot`` plays on it."""
    from physpose.skeleton.opensim_write import save_osim

    save_osim(replace(result.skeleton, gravity=result.gravity), path)


def write_animation(result: FitResult, path: Path) -> None:
    """The motion as .bvh for Blender, cm, y up; at even times.

    Raises:
        InputError: frames without a pose, which the format cannot hold.
    """
    missing = int((~np.isfinite(result.q).all(1)).sum())
    if missing:
        raise InputError(f"{path.name}: {missing} frames have no pose; .bvh has no way to say so")
    inner = {b.parent for b in result.skeleton.bodies}
    ends = {b.name: 2 * b.com for b in result.skeleton.bodies if b.name not in inner}
    write_bvh(path, result.skeleton, result.time, result.positions, result.rotations, ends=ends)


def _write_table(result: FitResult, path: Path) -> None:
    write_csv(path, result.to_frame())


def _write_report(result: FitResult, path: Path) -> None:
    from physpose.viz.report import write_report

    write_report(result, path)


WRITERS: dict[str, tuple[str, Callable[[FitResult, Path], None]]] = {
    "report": ("report.html", _write_report),
    "motion": ("motion.mot", write_motion),
    "positions": ("positions.trc", write_positions),
    "torques": ("torques.sto", write_torques),
    "csv": ("motion.csv", _write_table),
    "npz": ("result.npz", write_arrays),
    "skeleton": ("skeleton.xml", write_skeleton),
    "model": ("skeleton.osim", write_opensim_model),
    "animation": ("motion.bvh", write_animation),
}
NOT_ALWAYS = {"model", "animation"}  # formats that some bodies or motions do not fit into


def _stack(columns: list[Array], result: FitResult) -> Array:
    return np.stack(columns, 1) if columns else np.empty((len(result.time), 0))


def _about(result: FitResult) -> dict[str, Any]:
    import physpose

    k = result.keypoints
    seen = {} if k is None else {"keypoint_set": k.keypoint_set, "keypoint_source": k.source}
    return {
        "physpose": physpose.__version__,
        "source": result.source,
        "skeleton": result.skeleton.name,
        "subject": None if result.skeleton.subject is None else asdict(result.skeleton.subject),
        "assumptions": [asdict(a) for a in result.assumptions],
        "warnings": list(result.warnings),
        "contact_method": result.contacts.method,
        "floor": result.floor,
        "belt": result.belt.tolist(),
        "filmed": result.filmed,
        "status": asdict(result.status),
        **seen,
        "conventions": "SI units, radians, world z up; q = pelvis position, quaternion xyzw, coordinates; v in the "
        "pelvis frame; positions are body origins",
    }


def _plain(x: Any) -> Any:
    return x.tolist() if isinstance(x, np.ndarray | np.generic) else str(x)
