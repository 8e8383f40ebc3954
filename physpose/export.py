"""A FitResult's files, each written by one function, all put in place together."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from physpose.conventions import PELVIS_COORDINATES, opensim_pelvis, opensim_pelvis_forces, to_y_up
from physpose.errors import InputError
from physpose.io.tables import replace_file, write_csv, write_storage, write_trc
from physpose.result import FitResult
from physpose.types import Array


def save_result(result: FitResult, out: Path) -> dict[str, Path]:
    """Write all files of a result into the folder ``out``; see ``FitResult.save``."""
    try:
        staging = _staging(out)
        try:
            for name, write in WRITERS.values():
                write(result, staging / name)
            _move_into_place(staging, out)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror or error}") from error
    return {kind: out / name for kind, (name, _) in WRITERS.items()}


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
        os.replace(staging / name, out / name)


# --- the files ------------------------------------------------------------------------------------------------------


def pelvis_coordinates(result: FitResult) -> Array:
    """OpenSim's pelvis coordinates (T, 6) [rad; m], y up, in the order of ``PELVIS_COORDINATES``."""
    from scipy.spatial.transform import Rotation

    quat = np.full((len(result.time), 4), np.nan)
    good = np.isfinite(result.rotations[:, 0]).all((1, 2))
    if good.any():
        quat[good] = Rotation.from_matrix(result.rotations[good, 0]).as_quat()
    return opensim_pelvis(np.hstack([result.positions[:, 0], quat]))


def write_motion(result: FitResult, path: Path) -> None:
    """OpenSim's coordinates (.mot): degrees and metres, y up. A ball joint's three are its rotation vector's."""
    pelvis, pelvis_names = _pelvis(result)
    own = list(result.coordinate_results())
    columns = [np.rad2deg(c.q) if c.unit == "rad" else c.q for c in own]
    if pelvis is not None:
        columns = [*np.rad2deg(pelvis[:, :3]).T, *pelvis[:, 3:].T, *columns]
    names = [*pelvis_names, *(c.name for c in own)]
    write_storage(path, names, result.time, _stack(columns, result), in_degrees=True, title="Coordinates")


def write_torques(result: FitResult, path: Path) -> None:
    """Generalized forces (.sto) as OpenSim's inverse dynamics names them, N.m and N; the first six: root residual.

    A ball joint's three are the torque's components in its body's frame.
    """
    pelvis, pelvis_names = _pelvis(result)
    own = list(result.coordinate_results())
    columns = [c.tau for c in own]
    names = [f"{c.name}_{'moment' if c.tau_unit == 'N.m' else 'force'}" for c in own]
    if pelvis is not None:
        columns = [*opensim_pelvis_forces(result.tau[:, :6], pelvis).T, *columns]
        names = [f"{n}_{'moment' if i < 3 else 'force'}" for i, n in enumerate(pelvis_names)] + names
    title = "Inverse Dynamics Generalized Forces"
    write_storage(path, names, result.time, _stack(columns, result), in_degrees=False, title=title)


def write_positions(result: FitResult, path: Path) -> None:
    """Joint centres, fitted keypoints and contact points as markers (.trc), mm, y up."""
    names, positions = result.marker_positions()
    names = tuple("_".join(name.split()) for name in names)
    write_trc(path, names, result.time, 1000 * to_y_up(positions), units="mm")


def write_arrays(result: FitResult, path: Path) -> None:
    """Every array (.npz, no pickles), and the rest as one JSON text named "about"."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **result_arrays(result))
    replace_file(path, buffer.getvalue())


def result_arrays(result: FitResult) -> dict[str, Any]:
    """Name -> array of everything in a result, as ``result.npz`` holds it."""
    same = ("time", "q", "v", "a", "tau", "positions", "rotations", "com", "momentum", "power", "gravity")
    arrays: dict[str, Any] = {name: getattr(result, name) for name in same}
    arrays |= {"kinetic_energy": result.energy.kinetic, "potential_energy": result.energy.potential}
    arrays |= {"contact_active": result.contacts.active, "contact_force": result.contacts.force}
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
        arrays |= {f"sigma_{name}": value for name, value in vars(result.sigma).items()}
    arrays["about"] = np.array(json.dumps(_about(result), default=_plain))
    return arrays


def write_skeleton(result: FitResult, path: Path) -> None:
    """The scaled body as MJCF."""
    from physpose.skeleton.mjcf import save_mjcf

    save_mjcf(result.skeleton, path)


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
}


def _pelvis(result: FitResult) -> tuple[Array | None, tuple[str, ...]]:
    """OpenSim's pelvis coordinates and their names; none for a body without a free-flyer."""
    if result.skeleton.bodies[0].joint.kind != "free":
        return None, ()
    return pelvis_coordinates(result), PELVIS_COORDINATES


def _stack(columns: list[Array], result: FitResult) -> Array:
    return np.stack(columns, 1) if columns else np.empty((len(result.time), 0))


def _about(result: FitResult) -> dict[str, Any]:
    import physpose

    return {
        "physpose": physpose.__version__,
        "source": result.source,
        "skeleton": result.skeleton.name,
        "subject": None if result.skeleton.subject is None else asdict(result.skeleton.subject),
        "assumptions": [asdict(a) for a in result.assumptions],
        "warnings": list(result.warnings),
        "contact_method": result.contacts.method,
        "status": asdict(result.status),
        "conventions": "SI units, radians, world z up; q = pelvis position, quaternion xyzw, coordinates; v in the "
        "pelvis frame; positions are body origins",
    }


def _plain(x: Any) -> Any:
    return x.tolist() if isinstance(x, np.ndarray | np.generic) else str(x)
