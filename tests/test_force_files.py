"""Force files in the dialects that are about; axes, units, filtering."""

import numpy as np
import pytest

from physpose.errors import InputError, UnknownNameError
from physpose.io.external_loads import read_external_loads
from physpose.io.forces import Forces, read_forces, write_forces
from physpose.types import Wrench

TIME = np.arange(100) / 200
FORCE = np.stack([20 * np.sin(9 * TIME), 600 + 50 * np.cos(9 * TIME), 10 * np.cos(4 * TIME)], 1)  # y up
POINT = np.stack([0.5 + 0.2 * TIME, 0 * TIME, 0.1 + 0 * TIME], 1)
TORQUE = np.stack([0 * TIME, 5 * np.sin(6 * TIME), 0 * TIME], 1)
STYLES = {
    "one": ("ground_force_v", "ground_force_p", "ground_torque_"),
    "1_one": ("1_ground_force_v", "1_ground_force_p", "1_ground_torque_"),
    "number": ("ground_force_1_v", "ground_force_1_p", "ground_force_1_m"),
    "moment": ("ground_force1_v", "ground_force1_p", "ground_moment1_m"),
    "side": ("R_ground_force_v", "R_ground_force_p", "R_ground_torque_"),
    "body": ("ground_force_calcn_r_v", "ground_force_calcn_r_p", "ground_force_calcn_r_m"),
    "right": ("ground_force_right_v", "ground_force_right_p", "ground_torque_right_"),
}


def z_up(x):
    return np.stack([x[:, 0], -x[:, 2], x[:, 1]], 1)


def write(path, stems, scale=(1, 1, 1), separator="\t", header=""):
    columns = np.concatenate([TIME[:, None], scale[0] * FORCE, scale[1] * POINT, scale[2] * TORQUE], 1)
    names = ["time", *(s + c for s in stems for c in "xyz")]
    rows = [separator.join(names), *(separator.join(f"{x:.12g}" for x in row) for row in columns)]
    path.write_text(f"forces\n{header}endheader\n" + "\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("style", STYLES)
def test_names_of_all_styles(tmp_path, style):
    (w,) = read_forces(write(tmp_path / "a.mot", STYLES[style])).wrenches
    np.testing.assert_allclose(w.force, z_up(FORCE), atol=1e-9)
    np.testing.assert_allclose(w.cop, z_up(POINT), atol=1e-9)
    np.testing.assert_allclose(w.free_moment, z_up(TORQUE), atol=1e-9)
    assert w.body is None


def test_two_plates_even_under_the_same_names(tmp_path):
    for stems in (("ground_force_v", "ground_force_p", "ground_torque_") * 2, (*STYLES["one"], *STYLES["1_one"])):
        columns = np.concatenate([TIME[:, None], FORCE, POINT, TORQUE, 2 * FORCE, POINT + 1, TORQUE], 1)
        names = ["time", *(s + c for s in stems for c in "xyz")]
        text = "\n".join("\t".join(map(str, row)) for row in columns)
        (tmp_path / "a.mot").write_text("forces\nendheader\n" + "\t".join(names) + "\n" + text)
        first, second = read_forces(tmp_path / "a.mot").wrenches
        np.testing.assert_allclose(second.force, 2 * first.force, atol=1e-9)
        np.testing.assert_allclose(second.cop[:, 0], first.cop[:, 0] + 1, atol=1e-9)
        assert first.name != second.name


@pytest.mark.parametrize("separator", ["\t", "  ", ", "])
def test_separators_and_simm_headers(tmp_path, separator):
    header = "datacolumns 10\ndatarows 100\nrange 0 0.5\n"
    assert len(read_forces(write(tmp_path / "a.mot", STYLES["one"], separator=separator, header=header)).wrenches) == 1


def test_round_trip(tmp_path):
    w = read_forces(write(tmp_path / "a.mot", STYLES["side"])).wrenches[0]
    (again,) = read_forces(write_forces(tmp_path / "b.mot", (w,))).wrenches
    for name in ("time", "force", "cop", "free_moment"):
        np.testing.assert_allclose(getattr(again, name), getattr(w, name), atol=1e-7)


def test_millimetres_and_newton_millimetres_are_asked_about(tmp_path):
    path = write(tmp_path / "a.mot", STYLES["one"], scale=(1, 1000, 1))
    with pytest.raises(InputError, match=r"a\.mot.*'ground'.*length_units='mm'"):
        read_forces(path)
    np.testing.assert_allclose(read_forces(path, length_units="mm").wrenches[0].cop, z_up(POINT), atol=1e-9)
    path = write(tmp_path / "a.mot", STYLES["one"], scale=(1, 1, 1e6))
    with pytest.raises(InputError, match="torque_units='N.mm'"):
        read_forces(path)
    with pytest.raises(InputError, match="no person does that"):
        read_forces(write(tmp_path / "a.mot", STYLES["one"], scale=(1000, 1, 1)))
    with pytest.raises(UnknownNameError, match="inch"):
        read_forces(path, length_units="inch")


def test_missing_columns_are_named(tmp_path):
    text = write(tmp_path / "a.mot", STYLES["one"]).read_text()
    (tmp_path / "a.mot").write_text(text.replace("ground_force_pz", "other"))
    with pytest.raises(InputError, match=r"point of application of 'ground'.*\['ground_force_px', 'ground_force_py'\]"):
        read_forces(tmp_path / "a.mot")
    (tmp_path / "a.mot").write_text(text.replace("ground_", "x_").replace("force", "f"))
    with pytest.raises(InputError, match="holds no forces"):
        read_forces(tmp_path / "a.mot")
    with pytest.raises(InputError, match=r"\.mot, \.sto, \.xml"):
        read_forces(tmp_path / "a.txt")


LOADS = """<?xml version="1.0"?>
<OpenSimDocument Version="40000"><ExternalLoads name="loads"><objects>
<ExternalForce name="right"><applied_to_body>/bodyset/calcn_r</applied_to_body>
<force_expressed_in_body>ground</force_expressed_in_body><point_expressed_in_body>calcn_r</point_expressed_in_body>
<force_identifier>ground_force_v</force_identifier><point_identifier>ground_force_p</point_identifier>
<torque_identifier>ground_torque_</torque_identifier></ExternalForce>
<ExternalForce name="off"><appliesForce>false</appliesForce></ExternalForce>
</objects><datafile>a.mot</datafile></ExternalLoads></OpenSimDocument>"""


def test_external_loads_say_where_forces_act(tmp_path):
    write(tmp_path / "a.mot", STYLES["one"])
    path = tmp_path / "loads.xml"
    path.write_text(LOADS)
    (w,) = read_forces(path).wrenches
    assert (w.name, w.body, w.force_frame, w.point_frame) == ("right", "calcn_r", "world", "calcn_r")
    np.testing.assert_allclose(w.force, z_up(FORCE), atol=1e-9)
    np.testing.assert_allclose(w.cop, POINT, atol=1e-9)  # body frames are OpenSim's


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("a.mot", "none.mot"), "'right'.*'none.mot' is not there"),
        (("<applied_to_body>/bodyset/calcn_r</applied_to_body>", ""), "'right'.*applied_to_body"),
        (("ground_force_v<", "force_v<"), r"'right'.*no columns force_vx, y, z"),
        (("</objects>", ""), "no valid XML"),
        (("ExternalLoads", "Loads"), "holds no <ExternalLoads>"),
        (("<datafile>a.mot</datafile>", ""), "datafile"),
    ],
)
def test_broken_external_loads_are_refused_by_element(tmp_path, change, message):
    write(tmp_path / "a.mot", STYLES["one"])
    path = tmp_path / "loads.xml"
    assert change[0] in LOADS
    path.write_text(LOADS.replace(*change))
    with pytest.raises(InputError, match=rf"loads\.xml.*{message}"):
        read_forces(path)


def test_real_external_loads(data_dir):
    folder = data_dir / "opensim_models" / "Pipelines" / "Gait2354_Simbody"
    right, left = read_external_loads(folder / "subject01_walk1_grf.xml")
    assert (right.body, left.body) == ("calcn_r", "calcn_l")
    forces = read_forces(folder / "subject01_walk1_grf.xml")
    assert 700 < forces.wrenches[0].force[:, 2].max() < 1100


# --- resampling and filtering -----------------------------------------------------------------------------------------


def walking_force(rate=1000):
    """A contact from 0.2 to 0.8 s of two seconds, pressure from heel to toe at the height of a plate, z up."""
    t = np.arange(2 * rate) / rate
    on = (t > 0.2) & (t < 0.8)
    size = np.where(on, 700 * np.abs(np.sin(np.pi * (t - 0.2) / 0.6)) ** 0.5, 0.0)
    force = np.stack([0.1 * size * np.cos(np.pi * (t - 0.2) / 0.6), 0 * t, size], 1)
    cop = np.where(on[:, None], np.stack([0.3 * (t - 0.2), 0.1 + 0 * t, 0.02 + 0 * t], 1), np.nan)
    moment = np.stack([0 * t, 0 * t, 0.005 * size], 1)
    return Wrench(name="plate", time=t, force=force, cop=cop, free_moment=moment)


def test_resampling_is_linear_and_nothing_acts_outside():
    forces = Forces(wrenches=(walking_force(),), source="made up")
    at = forces.at(np.array([-1.0, 0.5004, 5.0])).wrenches[0]
    w = forces.wrenches[0]
    np.testing.assert_allclose(at.force[1], 0.6 * w.force[500] + 0.4 * w.force[501], atol=1e-9)
    np.testing.assert_allclose(at.force[[0, 2]], 0)
    np.testing.assert_allclose(at.cop[1], [0.3 * 0.3004, 0.1, 0.02], atol=1e-6)


def test_filtering_keeps_impulse_and_line_of_action():
    w = walking_force()
    raw, smooth = (Forces(wrenches=(w,), source="made up").at(w.time, c).wrenches[0] for c in (None, 20.0))
    assert np.ptp(np.diff(smooth.force[:, 2], 2)) < 0.3 * np.ptp(np.diff(raw.force[:, 2], 2))
    np.testing.assert_allclose(smooth.force.sum(0), raw.force.sum(0), rtol=5e-3, atol=50)
    on = smooth.force[:, 2] > 200
    np.testing.assert_allclose(smooth.cop[on, 2], 0.02, atol=1e-9)
    np.testing.assert_allclose(smooth.cop[on], raw.cop[on], atol=0.01)
    # the moment about the origin is that of the filtered force and moment, whatever the point
    about_origin = np.cross(np.nan_to_num(smooth.cop), smooth.force) + smooth.free_moment
    expected = np.cross(np.nan_to_num(raw.cop), raw.force) + raw.free_moment
    np.testing.assert_allclose(about_origin[on], expected[on], atol=4.0)
    assert np.abs(smooth.free_moment[on][:, :2]).max() < 1e-9


def test_bodies_can_be_named():
    forces = Forces(wrenches=(walking_force(),), source="made up")
    assert forces.named(plate="calcn_r").wrenches[0].body == "calcn_r"
    with pytest.raises(UnknownNameError, match="known: plate"):
        forces.named(other="calcn_r")
