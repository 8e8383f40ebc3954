"""Loaders of public data sets, on tiny files of the official form that the tests write."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from physpose.data.crowds import CROWDPOSE_NAMES, OCHUMAN_NAMES, load_crowdpose, load_ochuman
from physpose.data.labelled import MISSING, OCCLUDED, VISIBLE
from physpose.data.mpii import ANNOTATION, LANDMARKS, load_mpii
from physpose.data.sequences import H36M_INDEX, load_childplay, load_human36m, load_sportspose
from physpose.errors import InputError
from physpose.skeleton.files import read_shipped
from physpose.skeleton.keypoint_sets import keypoint_names


def pictures(folder: Path, *names: str) -> None:
    (folder / "images").mkdir(exist_ok=True)
    for name in names:
        (folder / "images" / name).write_bytes(b"x")


# --- MPII -------------------------------------------------------------------------------------------------------------


def mpii(folder: Path, ids=(9, 0), visible=("1", [])) -> Path:
    """One training picture with a labelled person and one without joints, one test picture."""
    from scipy.io import savemat

    points = [{"x": 10.0 * i, "y": 5.0, "id": i, "is_visible": v} for i, v in zip(ids, visible, strict=True)]
    point = np.array([tuple(p.values()) for p in points], dtype=[(k, object) for k in points[0]])
    labelled = {"x1": 0.0, "y1": 0.0, "x2": 30.0, "y2": 40.0, "annopoints": {"point": point}}
    annolist = np.zeros(3, dtype=[("image", object), ("annorect", object)])
    annolist[0] = ({"name": "a.jpg"}, labelled)
    annolist[1] = ({"name": "b.jpg"}, {"x1": 1.0})
    annolist[2] = ({"name": "c.jpg"}, {"objpos": {"x": 1, "y": 2}})
    savemat(folder / ANNOTATION, {"RELEASE": {"annolist": annolist, "img_train": np.array([1, 1, 0])}})
    pictures(folder, "a.jpg", "b.jpg", "c.jpg")
    return folder


def test_mpii(tmp_path):
    found = load_mpii(mpii(tmp_path), train=True)
    (image,) = found.images
    (person,) = image.people
    assert image.path == tmp_path / "images" / "a.jpg"
    np.testing.assert_array_equal(person.keypoints[[0, 9]], [[0, 5], [90, 5]])
    assert np.isnan(person.keypoints[1]).all()
    assert person.visible.tolist() == [VISIBLE] + [MISSING] * 8 + [VISIBLE] + [MISSING] * 6
    assert person.head_length == pytest.approx(0.6 * 50)
    assert person.box == pytest.approx((-9, -4, 108, 18))
    assert len(load_mpii(tmp_path, train=False).images) == 1


def test_mpii_hidden_joints(tmp_path):
    (image,) = load_mpii(mpii(tmp_path, visible=("0", 0)), train=True).images
    assert image.people[0].visible[[0, 9]].tolist() == [OCCLUDED, OCCLUDED]


def test_mpii_complaints(tmp_path):
    with pytest.raises(InputError, match=r"not there.*human-pose.mpi-inf.mpg.de"):
        load_mpii(tmp_path)
    mpii(tmp_path)
    (tmp_path / "images" / "a.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of 1 pictures are missing \(a.jpg\).*wholly unpacked"):
        load_mpii(tmp_path, train=True)
    with pytest.raises(InputError, match="joint number 16"):
        load_mpii(mpii(tmp_path, ids=(16, 0)))
    (tmp_path / ANNOTATION).write_bytes(b"no mat file at all" * 20)
    with pytest.raises(InputError, match="not the annotation"):
        load_mpii(tmp_path)


# --- OCHuman, CrowdPose -----------------------------------------------------------------------------------------------


def ochuman(folder: Path, **changes) -> Path:
    keypoints = [v for i in range(19) for v in (i, 2 * i, i % 4)]
    people = [{"bbox": [1, 2, 11, 22], "keypoints": keypoints}, {"bbox": [0, 0, 1, 1], "keypoints": None}]
    image = {"file_name": "a.jpg", "width": 640, "height": 480, "annotations": people}
    data = {"keypoint_names": OCHUMAN_NAMES, "images": [image]}
    (folder / "ochuman.json").write_text(json.dumps({**data, **changes}))
    pictures(folder, "a.jpg")
    return folder


def test_ochuman(tmp_path):
    found = load_ochuman(ochuman(tmp_path))
    (person,) = found.images[0].people
    assert person.visible[:4].tolist() == [MISSING, VISIBLE, OCCLUDED, OCCLUDED]
    np.testing.assert_array_equal(person.keypoints[3], [3, 6])
    assert np.isnan(person.keypoints[4]).all()
    assert person.box == (1, 2, 10, 20)
    assert found.images[0].size == (640, 480)


def crowdpose(folder: Path, **changes) -> Path:
    keypoints = [v for i in range(14) for v in (i, 2 * i, i % 3)]
    data = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 640, "height": 480}],
        "annotations": [
            {"id": 1, "image_id": 7, "bbox": [1, 2, 3, 4], "keypoints": keypoints},
            {"id": 2, "image_id": 7, "bbox": [1, 2, 3, 4], "keypoints": [0] * 42},
        ],
    }
    (folder / "crowdpose_val.json").write_text(json.dumps({**data, **changes}))
    pictures(folder, "a.jpg")
    return folder


def test_crowdpose(tmp_path):
    found = load_crowdpose(crowdpose(tmp_path), "val")
    (person,) = found.images[0].people
    assert person.visible[:3].tolist() == [MISSING, OCCLUDED, VISIBLE]
    assert person.box == (1, 2, 3, 4)


def test_landmarks_are_the_bodys(tmp_path):
    known = {name.removesuffix("_r") for name in read_shipped("human")["landmarks"]}
    for marks in (
        load_ochuman(ochuman(tmp_path)).landmarks,
        load_crowdpose(crowdpose(tmp_path), "val").landmarks,
        LANDMARKS,
    ):
        assert {m.removesuffix("_r").removesuffix("_l") for m in marks} <= known
    assert load_ochuman(tmp_path).landmarks[OCHUMAN_NAMES.index("left_ear")] == "ear_l"
    assert load_crowdpose(tmp_path, "val").landmarks[CROWDPOSE_NAMES.index("neck")] == "mid_shoulder"


def test_json_complaints(tmp_path):
    with pytest.raises(InputError, match=r"not there.*tsinghua"):
        load_ochuman(tmp_path)
    with pytest.raises(InputError, match="other joints"):
        load_ochuman(ochuman(tmp_path, keypoint_names=["a"]))
    with pytest.raises(InputError, match="corrupt"):
        load_ochuman(ochuman(tmp_path, images=[{"file_name": "a.jpg", "annotations": [{"keypoints": [1, 2]}]}]))
    ochuman(tmp_path)
    (tmp_path / "ochuman.json").write_text((tmp_path / "ochuman.json").read_text()[:-20])
    with pytest.raises(InputError, match="no JSON"):
        load_ochuman(tmp_path)
    with pytest.raises(InputError, match="train, val, test"):
        load_crowdpose(tmp_path, "dev")
    with pytest.raises(InputError, match="does not list"):
        load_crowdpose(crowdpose(tmp_path, images=[]), "val")
    with pytest.raises(InputError, match="lacks 'bbox'"):
        load_crowdpose(crowdpose(tmp_path, annotations=[{"image_id": 7, "keypoints": [1] * 42}]), "val")
    (tmp_path / "images" / "a.jpg").unlink()
    crowd = crowdpose(tmp_path)
    (crowd / "images" / "a.jpg").unlink()
    with pytest.raises(InputError, match="1 of 1 pictures"):
        load_crowdpose(crowd, "val")


# --- sequences --------------------------------------------------------------------------------------------------------


def standing(names: tuple[str, ...], T: int = 4) -> np.ndarray:
    """(T, K, 3) [m]: shoulders 0.8 m above the knees."""
    p = np.zeros((T, len(names), 3))
    for i, n in enumerate(n.lower() for n in names):
        p[:, i, 2] = 1.4 if "shoulder" in n else 0.6 if "knee" in n else 1.0
    return p


def human36m(folder: Path, scale: float = 1000.0, columns: int = 96) -> Path:
    cdflib = pytest.importorskip("cdflib")
    poses = folder / "S1" / "MyPoseFeatures" / "D3_Positions"
    poses.mkdir(parents=True, exist_ok=True)
    mm = np.zeros((4, 32, 3))
    mm[:, H36M_INDEX] = scale * standing(keypoint_names("h36m17"))
    mm = mm.reshape(4, 96)[:, :columns]
    file = cdflib.cdfwrite.CDF(poses / "Walking 1.cdf", cdf_spec={"Majority": "row_major"}, delete=True)
    about = {
        "Variable": "Pose",
        "Data_Type": 45,
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": [columns],
        "Var_Type": "zVariable",
    }
    file.write_var(about, var_data=mm)
    file.close()
    return folder


def test_human36m(tmp_path):
    (sequence,) = load_human36m(human36m(tmp_path), ("S1",))
    assert (sequence.name, sequence.person, sequence.rate) == ("S1 Walking 1", "S1", 50.0)
    np.testing.assert_allclose(sequence.positions, standing(keypoint_names("h36m17")), atol=1e-6)


def test_human36m_complaints(tmp_path):
    with pytest.raises(InputError, match="not there.*vision.imar.ro"):
        next(load_human36m(tmp_path))
    with pytest.raises(InputError, match="nobody, or another unit"):
        next(load_human36m(human36m(tmp_path, scale=1.0)))
    with pytest.raises(InputError, match=r"shape \(4, 64\)"):
        next(load_human36m(human36m(tmp_path, columns=64)))
    (tmp_path / "S1/MyPoseFeatures/D3_Positions/Walking 1.cdf").write_bytes(b"not a cdf file" * 9)
    with pytest.raises(InputError, match="no CDF"):
        next(load_human36m(tmp_path))


def sportspose(folder: Path, p: np.ndarray) -> Path:
    place = folder / "indoor" / "S04" / "jump"
    place.mkdir(parents=True, exist_ok=True)
    np.save(place / "jump0002.npy", p)
    return folder


def test_sportspose(tmp_path):
    p = standing(keypoint_names("coco17"))
    (sequence,) = load_sportspose(sportspose(tmp_path, p))
    assert (sequence.name, sequence.person, sequence.rate) == ("indoor S04 jump0002", "S04", 90.0)
    np.testing.assert_array_equal(sequence.positions, p)


class Trap:
    def __reduce__(self):
        return (os.abort, ())


def test_sportspose_complaints(tmp_path):
    with pytest.raises(InputError, match="no sequences"):
        next(load_sportspose(tmp_path))
    with pytest.raises(InputError, match=r"\(frames, 17, 3\)"):
        next(load_sportspose(sportspose(tmp_path, np.zeros((3, 16, 3)))))
    with pytest.raises(InputError, match="no array"):
        next(load_sportspose(sportspose(tmp_path, np.array([Trap()], dtype=object))))  # never unpickled


HEADER = "clip,frame,person_id,bbox_x,bbox_y,bbox_width,bbox_height,gaze_class,gaze_x,gaze_y,is_child\n"


def childplay(folder: Path, text: str) -> Path:
    place = folder / "annotations" / "train"
    place.mkdir(parents=True, exist_ok=True)
    (place / "a_1-9.csv").write_text(text)
    return folder


def test_childplay(tmp_path):
    rows = "a_1-9,1,1,1,2,3,4,inside_visible,5,6,1\na_1-9,1,2,9,9,9,9,inside_visible,5,6,0\na_1-9,2,1,2,2,3,4,x,5,6,1\n"
    child, adult = load_childplay(childplay(tmp_path, HEADER + rows))
    assert (child.is_child, adult.is_child) == (True, False)
    assert child.frame.tolist() == [1, 2]
    np.testing.assert_array_equal(child.box, [[1, 2, 3, 4], [2, 2, 3, 4]])


def test_childplay_complaints(tmp_path):
    with pytest.raises(InputError, match="not there.*zenodo"):
        load_childplay(tmp_path)
    with pytest.raises(InputError, match="lacks columns is_child"):
        load_childplay(childplay(tmp_path, HEADER.replace(",is_child", "") + "a,1,1,1,2,3,4,x,5,6\n"))
    with pytest.raises(InputError, match="corrupt"):
        load_childplay(childplay(tmp_path, HEADER + "a,1,1,wide,2,3,4,x,5,6,1\n"))
