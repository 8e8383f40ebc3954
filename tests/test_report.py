"""The report: whole in one file, honest about missing numbers, safe against what users call their files."""

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from example_result import example_result

from physpose.saved import load_result
from physpose.types import Assumption, Contacts
from physpose.viz import payload as payload_module
from physpose.viz.report import render_report, write_report
from physpose.viz.series import reprojection_error, sections, vertical_force_plot
from physpose.viz.shapes import DENSITY, bones, joints, segment_shapes


class Page(HTMLParser):
    """Tags, attributes and text of a page; scripts and styles apart."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.text, self.raw, self._inside = [], [], {}, ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = dict(attrs).get("id") or f"{tag}{len(self.raw)}"
            self.raw[self._inside] = ""

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, data):
        if self._inside:
            self.raw[self._inside] += data
        else:
            self.text.append(data)


def unpack(packed):
    return np.frombuffer(base64.b64decode(packed["f32"]), "<f4").reshape(packed["shape"])


@pytest.fixture(scope="module")
def result():
    return example_result()


@pytest.fixture(scope="module")
def page(result):
    return Page(render_report(result))


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the report with")
@pytest.mark.parametrize("bare", [False, True])
def test_the_scripts_run_in_a_browser(result, tmp_path, bare):
    if bare:
        nothing = Contacts(points=(), active=np.zeros((1, 0), bool), force=np.zeros((1, 0, 3)), method="none")
        result = example_result(1, camera=None, keypoints=None, contacts=nothing)
    path = write_report(result, tmp_path / "a.html")
    flags = (
        "--headless --no-sandbox --disable-gpu --enable-unsafe-swiftshader --disable-background-networking "
        "--disable-quic --no-first-run --disable-component-update --disable-sync --virtual-time-budget=4000 --dump-dom"
    )
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    failed = re.search(r'class="[^"]*failed[^>]*>([^<]*)', dom)
    assert failed is None, failed.group(1)
    shown = len(re.findall(r'class="u-over"', dom))
    assert shown >= 40
    assert ('class="row"' in dom) == (not bare)
    assert f"{result.time[-1]:.2f}" in dom


def test_nothing_is_fetched(page):
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "poster", "action", "data"):
            assert not attrs.get(name), f"<{tag} {name}={attrs[name]}>"
    assert not any(tag in ("link", "iframe", "object", "embed", "base") for tag, _ in page.tags)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    styles = "".join(text for name, text in page.raw.items() if name.startswith("style"))
    assert "url(" not in styles
    assert "@import" not in styles


def test_every_mark_of_the_template_is_filled(page):
    assert "{{" not in "".join(page.text)


def test_warnings_come_before_everything_else(page):
    text = " ".join(page.text)
    assert text.index("this motion is made up") < text.index("Mean speed") < text.index("Joint angles")


def test_numbers_reach_the_page(result, page):
    data = json.loads(page.raw["data"])
    np.testing.assert_allclose(unpack(data["time"]), result.time, rtol=1e-6)
    np.testing.assert_allclose(unpack(data["positions"]), result.positions, rtol=1e-6, atol=1e-6)
    angles = next(s for s in data["sections"] if s["id"] == "angles")
    knee = next(p for p in angles["plots"] if p["title"] == "Knee flexion")
    assert (knee["unit"], [c["label"] for c in knee["curves"]]) == ("deg", ["right", "left"])
    np.testing.assert_allclose(unpack(knee["curves"][1]["values"]), np.rad2deg(result["knee_angle_l"].q), rtol=1e-6)


def test_names_cannot_break_out(result):
    evil = '</script><script>alert(1)</script>"><img src=x onerror=alert(2)>{{data}}'
    body = replace(result.skeleton, name=evil)
    odd = replace(
        result,
        source=evil,
        warnings=(evil,),
        skeleton=body,
        assumptions=(Assumption(what=evil, value=evil, source=evil),),
        contacts=replace(result.contacts, method=evil),
        keypoints=replace(result.keypoints, keypoint_set=evil),
    )
    ours, theirs = Page(render_report(result)), Page(render_report(odd))
    count = {tag: sum(t == tag for t, _ in ours.tags) for tag in ("script", "img")}
    assert {tag: sum(t == tag for t, _ in theirs.tags) for tag in count} == count
    assert not any("onerror" in attrs for _, attrs in theirs.tags)
    assert "".join(theirs.text).count(evil) >= 5
    json.loads(theirs.raw["data"])


def test_missing_numbers_stay_missing(result):
    q, tau = result.q.copy(), result.tau.copy()
    q[3], tau[3] = np.nan, np.nan
    positions, rotations = result.positions.copy(), result.rotations.copy()
    positions[3], rotations[3] = np.nan, np.nan
    holes = replace(result, q=q, tau=tau, positions=positions, rotations=rotations)
    data = json.loads(Page(render_report(holes)).raw["data"])
    assert np.isnan(unpack(data["positions"])[3]).all()
    assert np.isnan(unpack(data["quaternions"])[3]).all()
    curve = unpack(next(s for s in data["sections"] if s["id"] == "torques")["plots"][0]["curves"][0]["values"])
    assert np.flatnonzero(np.isnan(curve)).tolist() == [3]


def test_fifteen_seconds_stay_under_15_mb(result, tmp_path):
    long = example_result(900)
    video = bytes(4_000_000)  # twice what 15 s of a moving picture take at this size
    assert write_report(long, tmp_path / "a.html", video=video).stat().st_size < 15e6


def test_long_results_are_thinned_and_say_so(monkeypatch):
    monkeypatch.setattr(payload_module, "MOST_FRAMES", 25)
    page = Page(render_report(example_result(60)))
    assert unpack(json.loads(page.raw["data"])["time"]).shape == (20,)
    assert "every third frame" in " ".join(page.text)


def test_a_video_that_is_gone_is_told(result):
    page = Page(render_report(replace(result, source="/nowhere/clip.mp4", filmed=True)))
    assert "/nowhere/clip.mp4 was not found" in " ".join(page.text)
    assert page.raw["video-data"] == ""


def test_a_saved_result_knows_whether_it_saw_a_video(result, tmp_path):
    for filmed in (False, True):
        replace(result, source="clip.mp4", filmed=filmed).save(tmp_path / str(filmed))
        assert load_result(tmp_path / str(filmed)).filmed is filmed


def test_keypoints_that_are_called_after_a_video_miss_none(result):
    page = Page(render_report(replace(result, source="clip.mp4")))
    assert "not found" not in " ".join(page.text)
    assert page.raw["video-data"] == ""


def test_a_video_that_cannot_be_read_is_told(result, tmp_path):
    (tmp_path / "clip.mp4").write_text("not a video")
    page = Page(render_report(replace(result, source=str(tmp_path / "clip.mp4"))))
    assert "The video cannot be shown" in " ".join(page.text)


def test_the_clip_itself_is_inside(result, tmp_path):
    av = pytest.importorskip("av")
    clip = tmp_path / "clip.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(90):
            picture = np.full((48, 64, 3), 2 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    page = Page(render_report(replace(result, source=str(clip))))
    (tmp_path / "inside.mp4").write_bytes(base64.b64decode(page.raw["video-data"]))
    with av.open(str(tmp_path / "inside.mp4")) as container:
        frames = [f.to_ndarray(format="gray").mean() for f in container.decode(video=0)]
    assert len(frames) > 50
    assert frames == sorted(frames)


@pytest.mark.parametrize("T", [1, 2])
def test_the_shortest_results_have_a_report(T):
    assert f"{T} frame" in " ".join(Page(render_report(example_result(T))).text)


def test_a_body_without_camera_contacts_subject_and_weight_has_a_report(result):
    nothing = Contacts(points=(), active=np.zeros((60, 0), bool), force=np.zeros((60, 0, 3)), method="none")
    bare = replace(result, camera=None, keypoints=None, contacts=nothing, gravity=np.zeros(3))
    bare = replace(bare, skeleton=replace(bare.skeleton, subject=None, contact_points=()))
    assert "60 frames" in " ".join(Page(render_report(bare)).text)


def test_vertical_force_in_body_weights(result):
    plot = vertical_force_plot(result)
    np.testing.assert_allclose(plot.curves[0].values, 1.0)
    assert plot.unit == "body weights"
    assert vertical_force_plot(replace(result, gravity=np.zeros(3))).unit == "N"


def test_every_coordinate_is_plotted_once_a_section(result):
    for section in sections(result)[1:]:
        shown = sum(len(p.curves) for p in (*section.plots, *section.more))
        assert shown == len(result.skeleton.coordinate_names)


def test_reprojection_error_is_the_noise_put_in(result):
    # 3 px in each of u and v: 3 sqrt(2) px
    assert reprojection_error(result) == pytest.approx(3 * np.sqrt(2), rel=0.05)
    assert reprojection_error(replace(result, camera=None)) is None


def test_solids_have_the_segments_mass_and_centre(result):
    """Numerical volume of each tapered rod, without its round ends."""
    for shape in segment_shapes(result.skeleton):
        if shape["kind"] != "limb":
            continue
        body, s = result.skeleton.bodies[shape["body"]], np.linspace(0, 1, 2001)
        along = shape["to"] - shape["from"]
        area = np.pi * ((1 - s) * shape["radius"][0] ** 2 + s * shape["radius"][1] ** 2)
        assert DENSITY * np.linalg.norm(along) * area.mean() == pytest.approx(body.mass, rel=1e-3)
        if body.name.startswith(("femur", "tibia", "humerus")):
            centre = shape["from"] + along * np.average(s, weights=area)
            np.testing.assert_allclose(centre, body.com, atol=0.03)


def test_a_body_whose_inertia_is_that_of_no_solid_is_drawn(result):
    """Scaled OpenSim models have such: one principal moment larger than the two others together."""
    bodies = tuple(replace(b, inertia=np.diag([0.1, 0.1, 1.0]) * np.trace(b.inertia)) for b in result.skeleton.bodies)
    odd = replace(result, skeleton=replace(result.skeleton, bodies=bodies))
    json.loads(Page(render_report(odd)).raw["data"])  # no NaN among the numbers


def test_the_stick_figure_is_one_piece_and_meets_every_joint(result):
    i, ends = 7, []
    for bone in bones(result.skeleton):
        p, R = result.positions[i, bone["body"]], result.rotations[i, bone["body"]]
        ends.append((p + R @ bone["from"], p + R @ bone["to"]))
    points = np.array(ends).reshape(-1, 3)
    for b in joints(result.skeleton):
        assert np.linalg.norm(points - result.positions[i, b], axis=1).min() < 1e-6
    reached = {0}
    for _ in ends:
        near = {
            k
            for k, pair in enumerate(ends)
            for o in reached
            for x in pair
            for y in ends[o]
            if np.linalg.norm(x - y) < 2e-3
        }
        reached |= near
    assert reached == set(range(len(ends)))


def test_assets_come_with_their_licences():
    assets = Path(payload_module.__file__).parent / "assets"
    for library in ("three", "uplot"):
        assert (assets / f"{library}.min.js").is_file()
        assert "MIT" in (assets / f"{library}.LICENSE").read_text()
    assert not re.search(r"</script", "".join(p.read_text() for p in assets.glob("*.js")), re.IGNORECASE)
