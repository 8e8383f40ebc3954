"""Files written here and by others; rotations checked by hand-made matrices."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from physpose.chain import KinematicChain
from physpose.errors import InputError
from physpose.io.bvh import read_bvh, write_bvh
from physpose.skeleton import load_skeleton

ATOL = 1e-9  # metres and entries of rotations

TEXT = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Spine
  {
    OFFSET 0 50 0
    CHANNELS 3 Yrotation Zrotation Xrotation
    End Site
    {
      OFFSET 0 40 0
    }
  }
  JOINT LeftKnee
  {
    OFFSET 10 -80 0
    CHANNELS 1 Xrotation
    End Site
    {
      OFFSET 0 -45 5
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.02
0 125 0 0 0 0 0 0 0 0
10 125 30 30 20 10 5 15 25 60
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "a.bvh"
    file.write_text(TEXT)
    return file


def poses(motion):
    frames = KinematicChain(motion.skeleton).fk(torch.as_tensor(motion.q))
    return frames.p.numpy(), frames.R.numpy()


def test_a_file_is_read_as_its_numbers_say(path):
    motion = read_bvh(path)
    p, R = poses(motion)
    assert motion.skeleton.body_names == ("Hips", "Spine", "LeftKnee")
    assert motion.skeleton.coordinate_names == ("LeftKnee_x",)
    np.testing.assert_allclose(motion.time, [0, 0.02])
    # at rest, facing +x: left is +y, up is +z
    np.testing.assert_allclose(p[0], [[0, 0, 1.25], [0, 0, 1.75], [0, 0.1, 0.45]], atol=ATOL)
    lab = np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]])  # world from the file's x left, y up, z forward
    root = Rotation.from_euler("ZXY", [30, 20, 10], degrees=True).as_matrix()
    knee = root @ Rotation.from_euler("X", 60, degrees=True).as_matrix()
    hips = lab @ [0.1, 1.25, 0.3]
    np.testing.assert_allclose(p[1, 0], hips, atol=ATOL)
    np.testing.assert_allclose(p[1, 2], hips + lab @ root @ [0.1, -0.8, 0], atol=ATOL)
    np.testing.assert_allclose(R[1, 2], lab @ knee, atol=ATOL)
    spine = root @ Rotation.from_euler("YZX", [5, 15, 25], degrees=True).as_matrix()
    np.testing.assert_allclose(R[1, 1], lab @ spine, atol=ATOL)
    np.testing.assert_allclose(motion.ends["LeftKnee"], [0, -0.45, 0.05], atol=ATOL)


def test_round_trip(path, tmp_path):
    motion = read_bvh(path)
    p, R = poses(motion)
    written = write_bvh(tmp_path / "b.bvh", motion.skeleton, motion.time, p, R, ends=motion.ends, order="XYZ")
    again = read_bvh(written)
    p2, R2 = poses(again)
    np.testing.assert_allclose(p2, p, atol=ATOL)
    np.testing.assert_allclose(R2, R, atol=ATOL)
    np.testing.assert_allclose(again.ends["Spine"], motion.ends["Spine"], atol=ATOL)


def test_a_persons_motion_is_written_so_that_joints_lie_where_they_lay(tmp_path):
    body = load_skeleton("adult", age=30, sex="f", height=1.7, mass=60)
    rng = np.random.default_rng(0)
    q = body.neutral + np.concatenate([np.zeros((5, 7)), 0.3 * rng.normal(size=(5, body.nq - 7))], 1)
    q[:, 3:7] = (Rotation.from_quat(body.neutral[3:7]) * Rotation.from_rotvec(rng.normal(size=(5, 3)))).as_quat()
    frames = KinematicChain(body).fk(torch.as_tensor(q))
    time = np.arange(5) / 50
    again = read_bvh(write_bvh(tmp_path / "a.bvh", body, time, frames.p.numpy(), frames.R.numpy()))
    p, _ = poses(again)
    order = [again.skeleton.body_index(n) for n in body.body_names]
    np.testing.assert_allclose(p[:, order], frames.p.numpy(), atol=ATOL)
    # at rest the figure faces the file's +z: toes lie ahead of the heel
    rest, _ = poses(again.__class__(**{**vars(again), "q": again.skeleton.neutral[None]}))
    toes, heel = (rest[0, again.skeleton.body_index(n)] for n in ("toes_r", "calcn_r"))
    assert toes[0] > heel[0] + 0.05


def test_uneven_times_are_resampled(tmp_path, path):
    motion = read_bvh(path)
    q = motion.q[[0, 0, 1]]
    p, R = poses(motion.__class__(**{**vars(motion), "q": q}))
    again = read_bvh(write_bvh(tmp_path / "b.bvh", motion.skeleton, np.array([0, 0.03, 0.04]), p, R))
    np.testing.assert_allclose(again.time, [0, 0.02, 0.04])
    np.testing.assert_allclose(poses(again)[0][1], p[0], atol=ATOL)


def test_real_files_come_back_as_they_were(data_dir, tmp_path):
    motion = read_bvh(data_dir / "cmu_mocap" / "02_03.bvh")
    p, R = poses(motion)
    again = read_bvh(write_bvh(tmp_path / "a.bvh", motion.skeleton, motion.time, p, R, ends=motion.ends))
    order = [again.skeleton.body_index(n) for n in motion.skeleton.body_names]
    np.testing.assert_allclose(poses(again)[0][:, order], p, atol=ATOL)
    assert 1.5 < np.ptp(p[40], axis=0)[2] < 1.9  # someone upright


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("Frames: 2", "Frames: 3"), r"line 26.*Frames: 3.*2 rows follow"),
        (("15 25 60", "15 25"), r"line 29: 9 numbers for 10 channels"),
        (("0 125 0 0", "0 125 zero 0"), "zero"),
        (("CHANNELS 1 Xrotation", "CHANNELS 2 Xrotation"), r"line 18: 2 channels are announced, 1 follow"),
        (("CHANNELS 1 Xrotation", "CHANNELS 1 Wrotation"), "wrotation"),
        (("Frame Time: 0.02", "Frame Time: 0"), "frame time is 0"),
        (("HIERARCHY", "hello"), "does not start with 'HIERARCHY'"),
        (("}\nMOTION", "MOTION"), r"a '}' is missing"),
        ((TEXT[TEXT.index("MOTION") :], ""), "no line 'MOTION'"),
        (("OFFSET 10 -80 0", "OFFSET 10 -80"), r"line 17: 3 numbers are needed"),
        (("OFFSET 0 50 0", "OFFSET 0 1 0"), "give scale="),
    ],
)
def test_broken_files_are_refused_with_their_line(path, change, message):
    assert change[0] in TEXT
    text = TEXT.replace(*change)
    if "scale" in message:
        text = text.replace("-80", "-8").replace("0 40 0", "0 4 0").replace("-45 5", "-4 5")
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_bvh(path)


def test_a_unit_may_be_given(path):
    assert read_bvh(path, scale=0.0254).skeleton.bodies[1].joint.translation[1] == pytest.approx(50 * 0.0254)


def test_blender_shows_joints_where_forward_kinematics_has_them(tmp_path):
    """Blender's importer turns y up, facing +z, into z up, facing -y: its front view."""
    bpy = pytest.importorskip("bpy", reason="needs Blender as a package: pip install bpy")
    R_blender_world = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    atol = 1e-4  # metres: Blender holds poses in float32
    body, chance, T = load_skeleton("adult"), np.random.default_rng(0), 12
    chain = KinematicChain(body)
    step = np.concatenate([chance.normal(0, 0.4, (T, 6)), chance.uniform(-0.5, 0.5, (T, chain.nv - 6))], 1)
    frames = chain.fk(chain.integrate(torch.as_tensor(np.tile(body.neutral, (T, 1))), torch.as_tensor(step)))
    path = write_bvh(tmp_path / "a.bvh", body, np.arange(T) / 30, frames.p.numpy(), frames.R.numpy())
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_anim.bvh(filepath=str(path), global_scale=0.01, update_scene_fps=True)
    armature, scene = bpy.context.object, bpy.context.scene
    assert scene.render.fps / scene.render.fps_base == pytest.approx(30)
    for t in range(T):
        scene.frame_set(t + 1)
        there = [armature.matrix_world @ armature.pose.bones[name].head for name in body.body_names]
        np.testing.assert_allclose(np.array(there), frames.p[t].numpy() @ R_blender_world.T, atol=atol)
