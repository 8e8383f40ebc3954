"""Body models of the SMPL family: joints against smplx, masses against closed forms, dynamics against Pinocchio."""

from __future__ import annotations

import pickle
import sys
import types

import numpy as np
import pinocchio as pin
import pytest
import smpl_body
import smplx
import torch
from scipy.sparse import csc_matrix
from scipy.spatial.transform import Rotation
from smplx.utils import Struct

from physpose import KinematicChain, dynamics, load_skeleton
from physpose.conventions import R_BODY_SMPL, q_from_smpl
from physpose.errors import InputError, SubjectError, UnknownNameError
from physpose.skeleton import describe
from physpose.skeleton.skin import pose_skin
from physpose.skeleton.smpl import joint_names, segment_density

ATOL_POSE = 1e-6  # [m] smplx keeps float32
ATOL_DYNAMICS = 1e-9  # relative to the largest; float64, 24 to 55 balls
FAMILIES = ("smpl", "smplh", "smplx")
GRAVITY = np.array([0.2, -0.3, -9.7])

families = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {f: smpl_body.save(folder / f"{f.upper()}_NEUTRAL.npz", f) for f in FAMILIES}


@pytest.fixture(scope="module")
def bodies(files):
    betas = np.random.default_rng(5).normal(size=smpl_body.N_BETAS)
    return {f: load_skeleton(f, model=files[f], betas=betas) for f in FAMILIES}


def random_poses(seed: int, n_joints: int, T: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(scale=0.5, size=(T, n_joints, 3)), rng.normal(size=(T, 3))


def random_state(seed: int, skeleton, T: int):
    rng = np.random.default_rng(seed)
    poses, trans = random_poses(seed, len(skeleton.bodies), T)
    return q_from_smpl(poses, trans, skeleton.skin.root_at), *rng.normal(size=(2, T, skeleton.nv))


# --- kinematics: smplx's own forward -------------------------------------------------------------------------------


def smplx_forward(family: str, betas, poses, trans, posedirs=None):
    """Joints and vertices of smplx's own layers, y up, in the model's axes."""
    held = Struct(**smpl_body.arrays(family))
    held.f = held.f.astype(np.int64)
    if posedirs is not None:
        held.posedirs = posedirs
    n, ids = len(held.v_template), smplx.vertex_ids.vertex_ids["smplh"]
    ids = dict.fromkeys([*ids, *smplx.vertex_ids.vertex_ids["smplx"]], 0)  # points that a small mesh lacks
    kind = smplx.SMPL if family == "smpl" else smplx.SMPLH
    model = kind("", data_struct=held, vertex_ids=ids, use_pca=False, flat_hand_mean=True)
    part = torch.as_tensor(poses, dtype=torch.float32)
    hands = {} if family == "smpl" else {"left_hand_pose": part[:, 22:37], "right_hand_pose": part[:, 37:52]}
    flat = {k: v.reshape(len(part), -1) for k, v in hands.items()}
    body = part[:, 1 : 24 if family == "smpl" else 22]
    out = model(
        betas=torch.as_tensor(betas, dtype=torch.float32)[None].expand(len(part), -1), global_orient=part[:, 0],
        body_pose=body.reshape(len(part), -1), transl=torch.as_tensor(trans, dtype=torch.float32), **flat,
    )  # fmt: skip
    J = len(joint_names(family))
    assert out.vertices.shape[1] == n
    return out.joints[:, :J].detach().numpy().astype(float), out.vertices.detach().numpy().astype(float)


@pytest.mark.parametrize("family", ["smpl", "smplh"])
def test_joints_and_surface_are_where_smplx_puts_them(files, family):
    betas = np.random.default_rng(0).normal(size=smpl_body.N_BETAS)
    skeleton = load_skeleton(files[family], betas=betas)
    poses, trans = random_poses(1, len(skeleton.bodies), 6)
    joints, vertices = smplx_forward(family, betas, poses, trans)
    q = torch.as_tensor(q_from_smpl(poses, trans, skeleton.skin.root_at))
    frames = KinematicChain(skeleton).fk(q)
    np.testing.assert_allclose(frames.p.numpy(), joints, atol=ATOL_POSE)
    np.testing.assert_allclose(pose_skin(skeleton, frames.p.numpy(), frames.R.numpy()), vertices, atol=2 * ATOL_POSE)


def test_pose_corrections_move_no_joint(files):
    betas = np.zeros(smpl_body.N_BETAS)
    skeleton = load_skeleton(files["smpl"], betas=betas)
    poses, trans = random_poses(2, 24, 3)
    posedirs = np.random.default_rng(2).normal(scale=1e-3, size=smpl_body.arrays()["posedirs"].shape)
    joints, _ = smplx_forward("smpl", betas, poses, trans, posedirs)
    q = torch.as_tensor(q_from_smpl(poses, trans, skeleton.skin.root_at))
    np.testing.assert_allclose(KinematicChain(skeleton).fk(q).p.numpy(), joints, atol=ATOL_POSE)


def test_smplx_joints_are_where_smplx_puts_them(files):
    """SMPL-X's layer reads a file by itself; its joints come from the same function, with the face in between."""
    rng = np.random.default_rng(3)
    betas, arrays = rng.normal(size=smpl_body.N_BETAS), smpl_body.arrays("smplx")
    skeleton = load_skeleton("smplx", model=files["smplx"], betas=betas)
    poses, trans = random_poses(3, 55, 4)
    to_float = {k: torch.as_tensor(np.asarray(v, float)) for k, v in arrays.items()}
    parents = torch.as_tensor(arrays["kintree_table"][0].astype(np.int64))
    parents[0] = -1
    shape, pose = torch.as_tensor(betas)[None].expand(4, -1), torch.as_tensor(poses).reshape(4, -1)
    directions, corrections = to_float["shapedirs"][..., : smpl_body.N_BETAS], to_float["posedirs"].reshape(54 * 9, -1)
    _, joints = smplx.lbs.lbs(
        shape, pose, to_float["v_template"][None], directions, corrections, to_float["J_regressor"], parents,
        to_float["weights"],
    )  # fmt: skip
    q = torch.as_tensor(q_from_smpl(poses, trans, skeleton.skin.root_at))
    np.testing.assert_allclose(
        KinematicChain(skeleton).fk(q).p.numpy(), joints.numpy() + trans[:, None], atol=ATOL_POSE
    )


def test_the_kid_blend_is_smplxs(files, tmp_path):
    rng = np.random.default_rng(4)
    infant = 0.45 * smpl_body.arrays()["v_template"] + rng.normal(scale=1e-3, size=3)
    np.save(tmp_path / "kid.npy", infant)
    betas = np.append(rng.normal(size=smpl_body.N_BETAS), 0.6)
    skeleton = load_skeleton("smpl", model=files["smpl"], betas=betas, kid_template=tmp_path / "kid.npy")
    ids = dict.fromkeys(smplx.vertex_ids.vertex_ids["smplh"], 0)
    held = Struct(**smpl_body.arrays())
    model = smplx.SMPL("", kid_template_path=tmp_path / "kid.npy", age="kid", data_struct=held, vertex_ids=ids)
    rest = model(betas=torch.as_tensor(betas, dtype=torch.float32)[None])
    joints = rest.joints[0, :24].detach().numpy().astype(float)
    offsets = np.array([b.joint.translation for b in skeleton.bodies[1:]])
    parents = [skeleton.body_index(b.parent) for b in skeleton.bodies[1:]]
    np.testing.assert_allclose(offsets, (joints[1:] - joints[parents]) @ R_BODY_SMPL.T, atol=ATOL_POSE)
    assert skeleton.subject.age < 18
    with pytest.raises(SubjectError, match="share"):
        load_skeleton("smpl", model=files["smpl"], height=1.2, kid_template=tmp_path / "kid.npy")
    np.save(tmp_path / "other.npy", infant[:10])
    with pytest.raises(InputError, match=r"shape \(10, 3\)"):
        load_skeleton("smpl", model=files["smpl"], betas=betas, kid_template=tmp_path / "other.npy")


@families
def test_it_stands_upright_on_the_floor_and_faces_forward(bodies, family):
    skeleton = bodies[family]
    frames = KinematicChain(skeleton).fk(torch.as_tensor(skeleton.neutral))
    surface = pose_skin(skeleton, frames.p.numpy()[None], frames.R.numpy()[None])[0]
    assert surface[:, 2].min() == pytest.approx(0, abs=1e-12)
    assert np.ptp(surface[:, 2]) == pytest.approx(skeleton.subject.height)
    at = dict(zip(skeleton.body_names, frames.p.numpy(), strict=True))
    assert at["left_hip"][1] > at["right_hip"][1]  # facing +x, left is +y
    assert at["left_foot"][0] > at["left_ankle"][0]
    soles = KinematicChain(skeleton)
    touch = soles.locate(frames, soles.points(skeleton.contact_points)).numpy()
    assert len(touch) == 8
    assert (touch[:, 2] < 0.03).all()
    names = [p.name for p in skeleton.contact_points]
    assert touch[names.index("toe_r"), 0] > touch[names.index("ball_medial_r"), 0] > touch[names.index("heel_r"), 0]
    assert touch[names.index("ball_medial_r"), 1] > touch[names.index("ball_lateral_r"), 1]


# --- dynamics: a Pinocchio model built here ------------------------------------------------------------------------


def pinocchio_model(family: str, skeleton):
    """Of joints, in the model's own axes, from the file's arrays; only masses come from the skeleton."""
    arrays, model = smpl_body.arrays(family), pin.Model()
    shape = skeleton.skin.betas
    rest = arrays["v_template"] + arrays["shapedirs"][..., : len(shape)] @ shape
    J, parents = arrays["J_regressor"] @ rest, arrays["kintree_table"][0].astype(np.int64)
    ids = []
    for i, body in enumerate(skeleton.bodies):
        kind = pin.JointModelFreeFlyer() if i == 0 else pin.JointModelSpherical()
        at = pin.SE3(np.eye(3), np.zeros(3) if i == 0 else J[i] - J[parents[i]])
        ids.append(model.addJoint(0 if i == 0 else ids[parents[i]], kind, at, body.name))
        back = R_BODY_SMPL.T
        inertia = pin.Inertia(body.mass, back @ body.com, back @ body.inertia @ back.T)
        model.appendBodyToJoint(ids[-1], inertia, pin.SE3.Identity())
    model.gravity.linear = GRAVITY
    return model, J[0], ids


@families
def test_torque_momentum_and_energy_of_a_random_motion_match_pinocchio(bodies, family):
    skeleton, T = bodies[family], 5
    model, root, ids = pinocchio_model(family, skeleton)
    data, n = model.createData(), len(skeleton.bodies)
    rng = np.random.default_rng(7)
    poses, trans = random_poses(7, n, T)
    v_model, a_model = rng.normal(size=(2, T, skeleton.nv))
    # rates in the model's axes to ours: every triple turns by R_BODY_SMPL
    v, a = ((x.reshape(T, -1, 3) @ R_BODY_SMPL.T).reshape(T, -1) for x in (v_model, a_model))
    q = q_from_smpl(poses, trans, root)
    chain = KinematicChain(skeleton)
    tau = dynamics.rnea(chain, *map(torch.as_tensor, (q, v, a)), gravity=GRAVITY).numpy()
    momentum = dynamics.centroidal_momentum(chain, torch.as_tensor(q), torch.as_tensor(v)).numpy()
    kinetic, potential = dynamics.energy(chain, torch.as_tensor(q), torch.as_tensor(v), gravity=GRAVITY)
    for t in range(T):
        quats = Rotation.from_rotvec(poses[t]).as_quat()
        qp, vp, ap = np.zeros(model.nq), np.zeros(model.nv), np.zeros(model.nv)
        for i, j in enumerate(ids):  # Pinocchio may order joints otherwise
            iq, iv, m = model.joints[j].idx_q, model.joints[j].idx_v, 6 if i == 0 else 3
            qp[iq : iq + m + 1] = np.append(trans[t] + root, quats[0]) if i == 0 else quats[i]
            start = 0 if i == 0 else 6 + 3 * (i - 1)
            vp[iv : iv + m], ap[iv : iv + m] = v_model[t, start : start + m], a_model[t, start : start + m]
        expected = np.zeros(skeleton.nv)
        raw = pin.rnea(model, data, qp, vp, ap)
        for i, j in enumerate(ids):
            iv, m, start = model.joints[j].idx_v, 6 if i == 0 else 3, 0 if i == 0 else 6 + 3 * (i - 1)
            expected[start : start + m] = (raw[iv : iv + m].reshape(-1, 3) @ R_BODY_SMPL.T).ravel()
        np.testing.assert_allclose(tau[t], expected, atol=ATOL_DYNAMICS * abs(expected).max())
        h = pin.computeCentroidalMomentum(model, data, qp, vp).vector
        np.testing.assert_allclose(momentum[t], h, atol=ATOL_DYNAMICS * abs(h).max())
        assert float(kinetic[t]) == pytest.approx(pin.computeKineticEnergy(model, data, qp, vp), rel=ATOL_DYNAMICS)
        com = pin.centerOfMass(model, data, qp)
        assert float(potential[t]) == pytest.approx(-skeleton.mass * GRAVITY @ com, rel=ATOL_DYNAMICS)


# --- masses of the whole body ---------------------------------------------------------------------------------------


def surface_moments(vertices, faces) -> np.ndarray:
    """Pseudo-inertia (4, 4) about the origin by the divergence theorem, tetrahedron by tetrahedron."""
    corners = np.concatenate([np.zeros((len(faces), 1, 3)), vertices[faces]], 1)
    corners = np.concatenate([corners, np.ones((*corners.shape[:2], 1))], -1)
    volume = np.linalg.det(vertices[faces]) / 6
    total = corners.sum(1)
    # int x x^T over a tetrahedron = V / 20 (sum_i x_i x_i^T + (sum_i x_i)(sum_i x_i)^T)
    products = np.einsum("fki,fkj->fij", corners, corners) + np.einsum("fi,fj->fij", total, total)
    return np.einsum("f,fij->ij", volume / 20, products)


@families
def test_segments_add_up_to_the_whole_surface(bodies, family):
    """At unit density: volume, centre and inertia, with the bodies where the chain puts them."""
    skeleton = bodies[family]
    arrays, betas = smpl_body.arrays(family), skeleton.skin.betas
    rest = arrays["v_template"] + arrays["shapedirs"][..., : len(betas)] @ betas
    whole = surface_moments(rest, arrays["f"].astype(int))
    still = q_from_smpl(np.zeros((1, len(skeleton.bodies), 3)), np.zeros((1, 3)), skeleton.skin.root_at)
    frames = KinematicChain(skeleton).fk(torch.as_tensor(still[0]))
    found = np.zeros((4, 4))
    for body, R, p in zip(skeleton.bodies, frames.R.numpy(), frames.p.numpy(), strict=True):
        volume, inertia = (x / segment_density(body.name) for x in (body.mass, R @ body.inertia @ R.T))
        x = np.append(R @ body.com + p, 1.0)
        found += volume * np.outer(x, x)
        found[:3, :3] += np.trace(inertia) / 2 * np.eye(3) - inertia
    np.testing.assert_allclose(found, whole, atol=1e-9 * abs(whole).max())


def test_mass_follows_betas_and_what_is_given(files):
    mean = load_skeleton(files["smpl"])
    larger = load_skeleton(files["smpl"], betas=[1.0])  # 3.5 % larger in all directions
    for b0, b1 in zip(mean.bodies, larger.bodies, strict=True):
        assert b1.mass == pytest.approx(1.035**3 * b0.mass, rel=1e-9)
        np.testing.assert_allclose(b1.inertia, 1.035**5 * b0.inertia, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(b1.com, 1.035 * b0.com, atol=1e-9)
    given = load_skeleton(files["smpl"], mass=60.0)
    assert given.mass == pytest.approx(60.0, rel=1e-12)
    assert given.subject.mass == pytest.approx(60.0, rel=1e-12)
    ratios = [b1.mass / b0.mass for b0, b1 in zip(mean.bodies, given.bodies, strict=True)]
    np.testing.assert_allclose(ratios, 60.0 / mean.mass, rtol=1e-12)
    assert any("mass was not given" in w for w in mean.warnings)
    assert not any("mass" in w for w in given.warnings)
    assert any("far from" in w for w in load_skeleton(files["smpl"], mass=120.0).warnings)


def test_left_and_right_weigh_the_same(bodies, files):
    skeleton = load_skeleton(files["smpl"])
    for body in skeleton.bodies:
        if body.name.startswith("left_"):
            other = skeleton.bodies[skeleton.body_index(body.name.replace("left", "right"))]
            assert other.mass == pytest.approx(body.mass, rel=0.05)  # the voxels' corners differ
            np.testing.assert_allclose(other.com * [1, 1, -1], body.com, atol=3e-3)


def test_a_height_finds_the_most_probable_body_of_it(files):
    skeleton = load_skeleton("smpl", model=files["smpl"], height=1.70, mass=62.0, sex="f", age=24)
    assert skeleton.subject.height == pytest.approx(1.70, abs=1e-6)
    assert skeleton.subject.sex == "f"
    betas = skeleton.skin.betas
    # no other direction gives the same height with a smaller norm: betas are along the height's gradient
    step = 1e-4 * np.eye(len(betas))
    heights = [load_skeleton("smpl", model=files["smpl"], betas=betas + s).subject.height for s in step]
    gradient = (np.array(heights) - 1.70) / 1e-4
    assert abs(betas @ gradient) == pytest.approx(np.linalg.norm(betas) * np.linalg.norm(gradient), rel=1e-6)
    with pytest.raises(SubjectError, match="beyond this model"):
        load_skeleton("smpl", model=files["smpl"], height=0.9)
    with pytest.raises(SubjectError, match="betas fix"):
        load_skeleton("smpl", model=files["smpl"], height=1.7, betas=[0.1])
    with pytest.raises(SubjectError, match="in cm"):
        load_skeleton("smpl", model=files["smpl"], height=170)


# --- files -----------------------------------------------------------------------------------------------------------

FAMILY_WORDS = {"smpl": "SMPL ", "smplh": "SMPL-H ", "smplx": "SMPL-X "}


def refused(match: str, *args, **options):
    with pytest.raises(InputError, match=match) as caught:
        load_skeleton(*args, **options)
    text = str(caught.value)
    assert "https://smpl.is.tue.mpg.de" in text  # every refusal says where models are had
    assert "non-commercial" in text


def test_a_missing_file_says_where_models_are_had(tmp_path):
    refused("no such body model file", tmp_path / "SMPL_NEUTRAL.npz")
    refused("no such body model file", "smplh", model=tmp_path / "none.pkl")
    refused("needs model=", "smplx")
    with pytest.raises(UnknownNameError, match="smplx"):
        load_skeleton("giant")
    with pytest.raises(InputError, match="is a folder"):
        load_skeleton("smpl", model=tmp_path)


@families
def test_another_family_is_refused_by_name(files, family):
    for wanted in set(FAMILIES) - {family}:
        refused(f"is {FAMILY_WORDS[family]}", wanted, model=files[family])


@pytest.mark.parametrize(("joints", "what"), [(16, "MANO, a hand"), (5, "FLAME, a head"), (7, "a model of 7 joints")])
def test_a_hand_or_a_head_is_no_body(tmp_path, joints, what):
    arrays = smpl_body.arrays()
    cut = {"weights": arrays["weights"][:, :joints], "J_regressor": arrays["J_regressor"][:joints]}
    path = smpl_body.save(tmp_path / "part.npz", kintree_table=arrays["kintree_table"][:, :joints], **cut)
    refused(what, path)


def test_a_damaged_file_is_refused(files, tmp_path):
    whole = files["smpl"].read_bytes()
    for share in (0.1, 0.5, 0.99):
        path = tmp_path / f"cut{share}.npz"
        path.write_bytes(whole[: int(share * len(whole))])
        refused("truncated", path)
    (tmp_path / "empty.npz").write_bytes(b"")
    refused("truncated", tmp_path / "empty.npz")
    refused("lacks weights", smpl_body.save(tmp_path / "a.npz", weights=None))
    arrays = smpl_body.arrays()
    for name, change, match in (
        ("nan", {"v_template": np.where(np.arange(3) == 1, np.nan, arrays["v_template"])}, "not finite"),
        ("short", {"v_template": arrays["v_template"][:-9]}, "has shape"),
        ("faces", {"f": arrays["f"] + 9}, "faces name vertices"),
        ("torn", {"f": arrays["f"][: len(arrays["f"]) // 2]}, "mesh is open"),
        ("weights", {"weights": 0.5 * arrays["weights"]}, "sum to one"),
        ("tree", {"kintree_table": arrays["kintree_table"][:, ::-1]}, "parent"),
    ):
        with pytest.raises(InputError, match=match):
            load_skeleton(smpl_body.save(tmp_path / f"{name}.npz", **change))


def test_options_of_body_models_go_with_body_models_only(files):
    with pytest.raises(InputError, match="no body model"):
        load_skeleton("adult", betas=[1.0])
    with pytest.raises(InputError, match="is a file itself"):
        load_skeleton(files["smpl"], model=files["smpl"])
    with pytest.raises(InputError, match="99 betas given, this model has 10"):
        load_skeleton(files["smpl"], betas=np.zeros(99))


class Bomb:
    """Runs code when unpickled."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return (open, (self.witness, "w"))


def chumpy_model() -> dict:
    """The arrays as in the official .pkl: chumpy's arrays, a sparse regressor."""
    arrays = dict(smpl_body.arrays())
    arrays.pop("posedirs")
    module = types.ModuleType("chumpy.ch")
    Ch = type("Ch", (), {"__module__": "chumpy.ch", "__qualname__": "Ch"})
    module.Ch = Ch
    sys.modules["chumpy"], sys.modules["chumpy.ch"] = types.ModuleType("chumpy"), module
    for key in ("v_template", "shapedirs"):
        value = Ch()
        value.x = arrays[key]
        arrays[key] = value
    arrays["J_regressor"] = csc_matrix(arrays["J_regressor"])
    return arrays


@pytest.fixture
def pickled(tmp_path):
    path = tmp_path / "basicModel_f_lbs_10_207_0_v1.0.0.pkl"
    try:
        with open(path, "wb") as file:
            pickle.dump(chumpy_model(), file, protocol=2)
    finally:
        sys.modules.pop("chumpy"), sys.modules.pop("chumpy.ch")
    return path


def test_a_pickle_is_read_only_when_allowed(files, pickled):
    refused("allow_pickle=True", pickled)
    skeleton, other = load_skeleton(pickled, allow_pickle=True), load_skeleton(files["smpl"])
    for a, b in zip(skeleton.bodies, other.bodies, strict=True):
        np.testing.assert_allclose(a.joint.translation, b.joint.translation, atol=1e-14)
        assert a.mass == pytest.approx(b.mass, rel=1e-12)
    assert skeleton.subject.sex == "f"  # by the file's name
    assert other.subject.sex == "x"


def test_even_an_allowed_pickle_runs_no_code(tmp_path):
    witness = tmp_path / "ran"
    for name, held in (("a", {**smpl_body.arrays(), "v_template": Bomb(witness)}), ("b", Bomb(witness))):
        path = tmp_path / f"{name}.pkl"
        path.write_bytes(pickle.dumps(held))
        with pytest.raises(InputError, match=r"io\.open|_io\.open|asks for"):
            load_skeleton("smpl", model=path, allow_pickle=True)
    assert not witness.exists()


def test_a_pickled_array_inside_an_npz_is_read_only_when_allowed(files, tmp_path):
    sparse = np.empty((), object)
    sparse[()] = csc_matrix(smpl_body.arrays()["J_regressor"])
    path = smpl_body.save(tmp_path / "SMPL_MALE.npz", J_regressor=sparse)
    refused("'J_regressor' in it is pickled", path)
    a, b = load_skeleton(path, allow_pickle=True), load_skeleton(files["smpl"])
    np.testing.assert_allclose(a.bodies[5].joint.translation, b.bodies[5].joint.translation, atol=1e-14)
    other = smpl_body.save(tmp_path / "extra.npz", joint2num=sparse)  # as SMPL-X files have; nobody needs it
    assert load_skeleton(other).nv == b.nv


# --- points and words ------------------------------------------------------------------------------------------------


def test_detectors_points_need_the_official_vertices(bodies):
    assert set(bodies["smpl"].keypoint_sets) == {"smpl"}
    assert bodies["smplx"].keypoint_set("smplx").names == joint_names("smplx")


def test_official_vertices_give_coco_and_openpose_points(tmp_path):
    """A mesh with as many vertices as SMPL's; spare ones lie on the head, and belong to it."""
    arrays = smpl_body.arrays()
    spare = 6890 - len(arrays["v_template"])
    head = smpl_body.names("smpl").index("head")
    on_head = int(arrays["weights"][:, head].argmax())
    more = {
        "v_template": np.concatenate([arrays["v_template"], np.repeat(arrays["v_template"][[on_head]], spare, 0)]),
        "weights": np.concatenate([arrays["weights"], np.repeat(arrays["weights"][[on_head]], spare, 0)]),
        "shapedirs": np.concatenate([arrays["shapedirs"], np.zeros((spare, 3, 10))]),
        "J_regressor": np.concatenate([arrays["J_regressor"], np.zeros((24, spare))], 1),
        "posedirs": None,
    }
    skeleton = load_skeleton(smpl_body.save(tmp_path / "SMPL_MALE.npz", **more))
    assert {"smpl", "coco17", "openpose_body25", "halpe26", "h36m17"} <= set(skeleton.keypoint_sets)
    chain, q = KinematicChain(skeleton), torch.as_tensor(skeleton.neutral)
    points = dict(zip(skeleton.keypoint_set("coco17").names, chain.keypoints(q, "coco17").numpy(), strict=True))
    nose = arrays["v_template"][smplx.vertex_ids.vertex_ids["smplh"]["nose"]]
    root, height = skeleton.skin.root_at, skeleton.neutral[2]
    np.testing.assert_allclose(points["nose"], R_UPRIGHT @ (nose - root) + [0, 0, height], atol=1e-12)
    joints = dict(zip(skeleton.body_names, chain.fk(q).p.numpy(), strict=True))
    np.testing.assert_allclose(points["left_knee"], joints["left_knee"], atol=1e-12)


R_UPRIGHT = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # the model's z, x, y are the world's x, y, z


def test_it_can_be_described_and_says_what_it_assumes(bodies):
    text = describe(bodies["smpl"])
    assert "left_knee_x, _y, _z" in text
    assert "Dempster 1955" in text
    assert any("without limits" in w for w in bodies["smpl"].warnings)
