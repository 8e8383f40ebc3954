"""A saved result opens in the programs that it is meant for, and means the same there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from example_result import example_result

import physpose
from physpose.chain import KinematicChain
from physpose.conventions import q_to_mujoco
from physpose.errors import InputError
from physpose.io.bvh import read_bvh
from physpose.saved import load_result

ATOL = 1e-6  # [m]; files hold ten digits


@pytest.fixture(scope="module")
def result():
    return example_result(T=30)


@pytest.fixture(scope="module")
def files(result, tmp_path_factory):
    return result.save(tmp_path_factory.mktemp("elsewhere") / "out")


def test_opensim_plays_the_motion_on_the_model(result, files):
    """Its own forward kinematics, from its own reading of both files, against ours."""
    opensim = pytest.importorskip("opensim")
    opensim.Logger.setLevelString("Off")
    model = opensim.Model(str(files["model"]))
    state = model.initSystem()
    table = opensim.TimeSeriesTable(str(files["motion"]))
    model.getSimbodyEngine().convertDegreesToRadians(table)
    np.testing.assert_allclose(table.getIndependentColumn(), result.time, atol=1e-9)
    assert model.getTotalMass(state) == pytest.approx(result.skeleton.mass, rel=1e-9)
    coordinates = model.getCoordinateSet()
    names = [coordinates.get(i).getName() for i in range(coordinates.getSize())]
    assert set(names) == set(table.getColumnLabels())
    columns = {n: table.getDependentColumn(n).to_numpy() for n in names}
    for frame in range(0, len(result.time), 7):
        for i, name in enumerate(names):
            coordinates.get(i).setValue(state, float(columns[name][frame]), False)
        model.realizePosition(state)
        for k, name in enumerate(result.skeleton.body_names):
            T = model.getBodySet().get(name).getTransformInGround(state)
            x, y, z = (T.p().get(i) for i in range(3))
            np.testing.assert_allclose([x, -z, y], result.positions[frame, k], atol=ATOL, err_msg=name)
        com = model.calcMassCenterPosition(state)
        np.testing.assert_allclose([com.get(0), -com.get(2), com.get(1)], result.com[frame], atol=ATOL)


def test_the_model_has_the_gravity_of_the_result(tmp_path):
    opensim = pytest.importorskip("opensim")
    files = example_result(T=3, gravity=np.zeros(3)).save(tmp_path / "orbit")
    gravity = opensim.Model(str(files["model"])).getGravity()
    assert [gravity.get(i) for i in range(3)] == [0.0, 0.0, 0.0]


def test_mujoco_stands_where_we_do(result, files):
    """The saved MJCF and qpos from the saved arrays: as a reader of the folder would do it."""
    import mujoco

    saved = load_result(files["npz"].parent)
    model = mujoco.MjModel.from_xml_path(str(files["skeleton"]))
    data = mujoco.MjData(model)
    for frame in (0, 11, 29):
        data.qpos = q_to_mujoco(saved.skeleton, saved.q)[frame]
        mujoco.mj_forward(model, data)
        for k, name in enumerate(result.skeleton.body_names):
            np.testing.assert_allclose(data.body(name).xpos, result.positions[frame, k], atol=1e-9)
        np.testing.assert_allclose(data.subtree_com[0], result.com[frame], atol=1e-9)


def test_a_loaded_result_is_the_one_that_was_saved(result, files, tmp_path):
    """By names: the saved body has its coordinates in an order of its own."""
    loaded = physpose.load_result(files["npz"].parent)
    for c in result.coordinate_results():
        for field in ("q", "v", "a", "tau", "power"):
            np.testing.assert_allclose(getattr(loaded[c.name], field), getattr(c, field), atol=1e-12, err_msg=c.name)
    assert (loaded.assumptions, loaded.warnings, loaded.source) == (result.assumptions, result.warnings, result.source)
    assert loaded.status == result.status
    assert loaded.contacts.method == result.contacts.method
    assert loaded.keypoints.keypoint_set == result.keypoints.keypoint_set
    np.testing.assert_array_equal(loaded.keypoints.uv, result.keypoints.uv)
    frame, again = result.to_frame(), loaded.save(tmp_path / "again")
    assert set(loaded.to_frame().columns) == set(frame.columns)
    np.testing.assert_allclose(loaded.to_frame()[frame.columns], frame, atol=1e-9)
    assert again.keys() == files.keys()


def test_bvh_moves_alike(result, files):
    """At the ends, which resampling to even times keeps; scale found from the figure's size."""
    motion = read_bvh(files["animation"])
    assert len(motion.time) == len(result.time)
    p = KinematicChain(motion.skeleton).fk(torch.as_tensor(motion.q)).p.numpy()
    order = [motion.skeleton.body_index(n) for n in result.skeleton.body_names]
    for frame in (0, -1):
        np.testing.assert_allclose(p[frame, order], result.positions[frame], atol=1e-9)
    head = result.skeleton.bodies[result.skeleton.body_index("head")]
    assert np.linalg.norm(motion.ends["head"]) == pytest.approx(2 * np.linalg.norm(head.com))


def test_a_motion_with_holes_has_no_bvh(result, tmp_path):
    holes = result.q.copy(), result.positions.copy(), result.rotations.copy()
    for x in holes:
        x[4] = np.nan
    older = result.save(tmp_path / "out")
    assert older["animation"].exists()
    files = replace(result, **dict(zip(("q", "positions", "rotations"), holes, strict=True))).save(tmp_path / "out")
    assert "animation" not in files
    assert not older["animation"].exists()  # it would be the older motion
    assert files["model"].exists()


def test_what_must_be_written_still_fails(result, tmp_path, monkeypatch):
    from physpose import export

    def refuse(result, path):
        raise InputError("no")

    monkeypatch.setitem(export.WRITERS, "skeleton", ("skeleton.xml", refuse))
    with pytest.raises(InputError, match="no"):
        result.save(tmp_path / "out")


def test_xarray_has_names_and_units(result):
    pytest.importorskip("xarray")
    data = result.to_xarray()
    knee = data.tau.sel(column="knee_angle_r")
    np.testing.assert_array_equal(knee, result["knee_angle_r"].tau)
    np.testing.assert_array_equal(data.positions.sel(body="tibia_l", axis="z"),
                                  result.positions[:, result.skeleton.body_index("tibia_l"), 2])  # fmt: skip
    np.testing.assert_array_equal(data.contact_force.sel(contact="heel_r", axis="z"), result.contacts.force[:, 0, 2])
    np.testing.assert_array_equal(data.sel(column="pelvis_angular_y").v, result.v[:, 4])
    shank = result.momentum_by_body[:, result.skeleton.body_index("tibia_l")]
    np.testing.assert_array_equal(data.body_angular_momentum.sel(body="tibia_l", axis="y"), shank[:, 4])
    np.testing.assert_array_equal(data.body_linear_momentum.sum("body"), result.momentum_by_body[..., :3].sum(1))
    np.testing.assert_array_equal(data.inertia.sel(axis="x", other_axis="z"), result.inertia[:, 0, 2])
    assert all("units" in x.attrs for x in data.data_vars.values())
    assert (data.time.attrs["units"], data.power.attrs["units"], data.com.attrs["units"]) == ("s", "W", "m")
    assert not [n for n in data if n.startswith("sigma")]


def test_xarray_is_written_and_read(result, tmp_path):
    """Attributes are plain enough for netCDF."""
    xarray = pytest.importorskip("xarray")
    data = result.to_xarray()
    data.to_netcdf(tmp_path / "out.nc", engine="scipy")
    with xarray.open_dataset(tmp_path / "out.nc", engine="scipy") as again:
        np.testing.assert_array_equal(again.angular_momentum, data.angular_momentum)
        assert again.kinetic_energy.attrs["units"] == "J"
