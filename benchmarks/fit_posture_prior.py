"""Fit skeletons/posture_prior.npz, and print how jerky people's motion is, from public motion capture.

    python benchmarks/fit_posture_prior.py FOLDER [--cache FILE] [--output FILE]

FOLDER holds the unpacked data sets ``cmu_cgspeed_bvh`` and ``cmu_expmap`` (CMU Graphics Lab Motion Capture Database:
"The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF
EIA-0196217.") and ``ui_prmd`` (Vakanski et al. 2018, Data 3:2, public domain). Adults only.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mixture
import numpy as np
import torch
from mocap_files import Clip, cmu_bvh, cmu_expmap, ui_prmd
from mocap_ik import solve_person
from motion_statistics import print_motion_table
from scipy.spatial.transform import Rotation

import physpose
from physpose.errors import InputError

SKELETON = physpose.load_skeleton("adult", height=1.70)
COORDINATES = SKELETON.coordinate_names
NAMES = (*COORDINATES, "pelvis_up_x", "pelvis_up_z")
UNSEEN = {  # mean, sigma [deg] where the data tell nothing; arms hang with the thumb forward (pro_sup 90)
    "subtalar_angle": (0, 8), "mtp_angle": (-3, 12), "pro_sup": (90, 35), "wrist_flex": (0, 20), "wrist_dev": (0, 10),
}  # fmt: skip
SEEN = [i for i, n in enumerate(NAMES) if n[:-2] not in UNSEEN]
SHARES = {
    "walking": 0.30,
    "running": 0.08,
    "standing": 0.22,
    "reaching": 0.15,
    "squatting, sitting": 0.17,
    "other": 0.08,
}
FREE_STYLE = ("cmu05", "cmu49")  # dance, acrobatics
SAME_PEOPLE = {"expmap_basketball": "cmu06", "expmap_jumping": "cmu16"}  # CMU clips in two forms: one fold
ARMS = [NAMES.index(f"{n}_{s}") for s in "rl" for n in ("arm_flex", "arm_add", "arm_rot", "elbow_flex")]
SIDEWAYS = ("lumbar_bending", "lumbar_rotation", "neck_bending", "neck_rotation", "pelvis_up_z")
# walking, mean over the gait cycle [deg]: thigh (hip flexion + pelvic tilt), knee, ankle from Schwartz et al. 2008
# (J Biomech 41:1639) and OpenSim's gait examples; trunk: shoulders above the hips or a little ahead; head: unverified
WALKING = {"thigh": 8.0, "knee": 22.0, "ankle": 3.0, "trunk": -10.0, "head": -5.0}
ENOUGH = 0.5  # [nats a frame] the smallest mixture this near the best: more components gain little and lure more
EVERY = 0.25  # [s] between samples
MAX_RESIDUAL = {"cmu_bvh": 0.020, "cmu_expmap": 0.020, "ui_prmd": 0.035}  # [m]
MAX_TURN = np.radians(12.0)
REGISTRATION = (np.radians(4.0), 0.07)  # spread of angles [rad], of pelvis_up, by which data sets' zeros differ


@dataclass
class Track:
    """A fitted clip."""

    name: str
    person: str
    source: str
    rate: float
    q: np.ndarray
    good: np.ndarray  # (T,) bool

    @property
    def x(self) -> np.ndarray:
        """Posture vectors (T, n)."""
        up = Rotation.from_quat(self.q[:, 3:7]).as_matrix()[:, 2, :]
        return np.concatenate([self.q[:, 7:], up[:, [0, 2]]], 1)

    @property
    def speed(self) -> np.ndarray:
        """(T,) [m/s] of the pelvis over the floor, averaged over half a second."""
        k = max(1, round(0.25 * self.rate))
        p = np.concatenate([self.q[:1, :2].repeat(k, 0), self.q[:, :2], self.q[-1:, :2].repeat(k, 0)])
        steps = np.minimum(np.arange(len(self.q)) + k, len(self.q) - 1) - np.maximum(np.arange(len(self.q)) - k, 0)
        return np.linalg.norm(p[2 * k :] - p[: -2 * k], axis=-1) * self.rate / np.maximum(steps, 1)


def read_clips(folder: Path) -> list[Clip]:
    clips = cmu_bvh(folder / "cmu_cgspeed_bvh") + ui_prmd(folder / "ui_prmd")
    # walking and running are in the BVH files already
    clips += [c for c in cmu_expmap(folder / "cmu_expmap") if c.person not in ("expmap_walking", "expmap_running")]
    if not clips:
        raise InputError(f"no clips in {folder}; needs cmu_cgspeed_bvh, cmu_expmap, ui_prmd, unpacked")
    return clips


def solve_all(folder: Path) -> list[Track]:
    """Inverse kinematics of every person's clips; prints the residuals."""
    clips, tracks = read_clips(folder), []
    for person in sorted({c.person for c in clips}):
        solved, _, _ = solve_person([c for c in clips if c.person == person])
        r = np.concatenate([s.residual for s in solved]) * 1000
        print(f"{person:26s} {len(solved):3d} clips {len(r):6d} frames  rms {np.nanmedian(r):5.1f} mm, "
              f"95 % {np.nanpercentile(r, 95):5.1f} mm", flush=True)  # fmt: skip
        for s in solved:
            c = s.clip
            good = (s.residual < MAX_RESIDUAL[c.source]) & (s.rotation_residual < MAX_TURN)
            tracks.append(Track(c.name, c.person, c.source, c.rate, s.q, good))
    return tracks


def column(name: str) -> int:
    return NAMES.index(name)


def both(x: np.ndarray, name: str) -> np.ndarray:
    return x[:, [column(f"{name}_r"), column(f"{name}_l")]]


def recentre(tracks: list[Track]) -> None:
    """Shift CMU's zeros (its joint centres differ from ours) so that its walkers walk as people do on average."""
    cmu = [t for t in tracks if t.source.startswith("cmu")]
    means = []
    for person in sorted({t.person for t in cmu} - set(FREE_STYLE)):
        x = np.concatenate([t.x[(t.speed > 0.6) & (t.speed < 1.9) & t.good] for t in cmu if t.person == person])
        if len(x) < 60 or not person.startswith("cmu"):
            continue
        tilt = np.arcsin(x[:, column("pelvis_up_x")])
        trunk = tilt + x[:, column("lumbar_extension")]
        values = [both(x, "hip_flexion").mean(1) + tilt, both(x, "knee_angle").mean(1), both(x, "ankle_angle").mean(1),
                  trunk, trunk + x[:, column("neck_flexion")]]  # fmt: skip
        means.append([v.mean() for v in values])
    shift = np.radians(list(WALKING.values())) - np.median(means, 0)
    print("CMU's zeros moved by [deg]", dict(zip(WALKING, np.degrees(shift).round(1).tolist(), strict=True)))
    thigh, knee, ankle, trunk, head = shift
    moves = {"hip_flexion": thigh, "knee_angle": knee, "ankle_angle": ankle}
    moves = {f"{n}_{s}": d for n, d in moves.items() for s in "rl"}
    moves |= {"lumbar_extension": trunk, "neck_flexion": head - trunk}
    for t in cmu:
        for name, d in moves.items():
            t.q[:, 7 + column(name)] += d


def activities(t: Track) -> np.ndarray:
    """(T,) name of what the person does, by plain rules on speed, hips and knees, arms and trunk."""
    x = t.x
    bent = np.minimum(both(x, "hip_flexion"), both(x, "knee_angle")).max(1) > np.radians(50)
    down = np.cos(both(x, "arm_flex")) * np.cos(both(x, "arm_add"))  # cosine between upper arm and trunk
    lean = np.abs(np.arcsin(x[:, column("pelvis_up_x")]) + x[:, column("lumbar_extension")]) > np.radians(30)
    reaching = (down.min(1) < np.cos(np.radians(50))) | lean
    a = np.where(reaching, "reaching", "standing").astype(object)
    a[bent] = "squatting, sitting"
    a[(t.speed > 0.5)] = "walking"
    a[(t.speed > 2.0)] = "running"
    return np.full(len(x), "other", object) if t.person in FREE_STYLE else a


@dataclass
class Samples:
    """Weighted postures."""

    x: np.ndarray  # (N, n)
    weight: np.ndarray  # (N,) sums to one
    fold: np.ndarray  # (N,) name of the person
    activity: np.ndarray


def collect(tracks: list[Track], seed: int = 0) -> Samples:
    """Postures a quarter of a second apart, balanced, arms that were told how to be held replaced, both sides, both
    ways of writing a raised arm."""
    parts = []
    for t in tracks:
        step, upright = (
            round(EVERY * t.rate),
            t.x[:, column("pelvis_up_x")] ** 2 + t.x[:, column("pelvis_up_z")] ** 2 < 0.9,
        )
        keep = np.flatnonzero(t.good & upright & np.isfinite(t.q).all(1))
        keep = keep[keep % step == 0]
        told = t.source == "ui_prmd" and int(t.name[1:3]) <= 6
        fold = SAME_PEOPLE.get(t.person, t.person)
        parts += [(t.x[k], fold, a, told) for k, a in zip(keep, activities(t)[keep], strict=True)]
    x = np.array([p[0] for p in parts])
    fold, activity = (np.array([p[i] for p in parts]) for i in (1, 2))
    told = np.array([p[3] for p in parts])
    replace_arms(x, told, activity, np.random.default_rng(seed))
    weight = balance(fold, activity)
    return expand(Samples(x, weight, fold, activity))


def replace_arms(x: np.ndarray, told: np.ndarray, activity: np.ndarray, rng: np.random.Generator) -> None:
    """Squats, lunges and rising with arms held as told: give them arms of people standing or reaching freely."""
    standing = np.flatnonzero(~told & (activity == "standing"))
    reaching = np.flatnonzero(~told & (activity == "reaching"))
    rows = np.flatnonzero(told)
    donors = np.where(rng.random(len(rows)) < 0.6, rng.choice(standing, len(rows)), rng.choice(reaching, len(rows)))
    x[np.ix_(rows, ARMS)] = x[np.ix_(donors, ARMS)]
    relabelled = told & (activity == "reaching")
    activity[relabelled] = "standing"


def balance(fold: np.ndarray, activity: np.ndarray) -> np.ndarray:
    """Weights: activities by ``SHARES``, within each people by the square root of how much there is of them."""
    weight = np.zeros(len(fold))
    for a, share in SHARES.items():
        people = {p: np.flatnonzero((activity == a) & (fold == p)) for p in np.unique(fold[activity == a])}
        total = sum(np.sqrt(len(rows)) for rows in people.values())
        for rows in people.values():
            weight[rows] = share * np.sqrt(len(rows)) / total / len(rows)
    return weight / weight.sum()


def mirror(names: Sequence[str]) -> mixture.Mirror:
    """Left and right exchanged."""
    twin = {n: n[:-1] + "rl"[n[-1] == "r"] if n[-2:] in ("_r", "_l") else n for n in names}
    swap = np.array([list(names).index(twin[n]) for n in names])
    return mixture.Mirror(swap, np.array([-1.0 if n in SIDEWAYS else 1.0 for n in names]))


def other_branch(x: np.ndarray, side: str) -> np.ndarray:
    """The same arm written the other way: (flex, add, rot) = (flex + 180, 180 - add, rot + 180) [deg], wrapped."""
    y = x.copy()
    flex, add, rot = (column(f"arm_{n}_{side}") for n in ("flex", "add", "rot"))
    wrap = lambda a: (a + np.pi) % (2 * np.pi) - np.pi  # noqa: E731
    y[:, flex], y[:, add], y[:, rot] = wrap(x[:, flex] + np.pi), wrap(np.pi - x[:, add]), wrap(x[:, rot] + np.pi)
    return y


def within_limits(x: np.ndarray, slack: float = np.radians(10)) -> np.ndarray:
    arms = [column(f"arm_{n}_{s}") for s in "rl" for n in ("flex", "add", "rot")]
    low, high = np.array([SKELETON.coordinates[i].range for i in arms]).T
    return ((x[:, arms] > low - slack) & (x[:, arms] < high + slack)).all(1)


def expand(s: Samples) -> Samples:
    """Both branches of each arm where both are within limits (sharing the weight), then both sides."""
    variants = [s.x, other_branch(s.x, "r"), other_branch(s.x, "l"), other_branch(other_branch(s.x, "r"), "l")]
    valid = np.array([within_limits(v) for v in variants])
    valid[0] |= ~valid.any(0)
    share = valid / valid.sum(0)
    x = np.concatenate([v[ok] for v, ok in zip(variants, valid, strict=True)])
    weight = np.concatenate([(s.weight * w)[ok] for w, ok in zip(share, valid, strict=True)])
    fold, activity = (np.concatenate([a[ok] for ok in valid]) for a in (s.fold, s.activity))
    return Samples(
        np.concatenate([x, x[:, mirror(NAMES).swap] * mirror(NAMES).sign]),
        np.tile(weight / 2, 2),
        np.tile(fold, 2),
        np.tile(activity, 2),
    )


def old_prior() -> tuple[np.ndarray, np.ndarray]:
    """Mean and sigma of the independent Gaussian that the mixture replaces: resting posture, a quarter of the range."""
    rest = {"elbow_flex": 30, "knee_angle": 15, "hip_flexion": 8}
    mean = np.radians([rest.get(n[:-2], 0) for n in NAMES])
    ranges = np.array([c.range for c in SKELETON.coordinates])
    return mean, np.concatenate([np.diff(ranges)[:, 0] / 4, np.radians([20, 7])])


def choose(s: Samples, counts: list[int]) -> int:
    """Number of components by the log likelihood of people left out; prints all (0: independent)."""
    floor = np.array([REGISTRATION[1] if NAMES[i].startswith("pelvis") else REGISTRATION[0] for i in SEEN])
    x = s.x[:, SEEN]
    twins = mirror([NAMES[i] for i in SEEN])
    mean, sigma = (v[SEEN] for v in old_prior())
    groups = {f: i % 5 for i, f in enumerate(sorted(set(s.fold), key=lambda f: (-s.weight[s.fold == f].sum(), f)))}
    folds = np.array([groups[f] for f in s.fold])
    scores = {"resting posture, range / 4": mixture.log_normal(x, mean, np.diag(sigma**2))}
    scores |= {
        f"mixture of {k}" if k else "independent": mixture.held_out(x, s.weight, folds, k, floor, twins) for k in counts
    }
    print(f"log likelihood of people left out [nats a frame, {len(SEEN)} entries]; of all, by activity:")
    for name, v in scores.items():
        parts = [f"{a} {np.average(v[s.activity == a], weights=s.weight[s.activity == a]):.1f}" for a in SHARES]
        print(f"  {name:28s} {s.weight @ v:7.2f}   {', '.join(parts)}", flush=True)
    means = {k: float(s.weight @ scores[f"mixture of {k}"]) for k in counts if k}
    return min(k for k, v in means.items() if v > max(means.values()) - ENOUGH)


def save(path: Path, m: mixture.Mixture, sources: str) -> None:
    """The mixture over all names, what the data do not tell filled with independent Gaussians."""
    n, K = len(NAMES), len(m.weights)
    means, covariances = np.zeros((K, n)), np.zeros((K, n, n))
    means[:, SEEN] = m.means
    covariances[np.ix_(range(K), SEEN, SEEN)] = m.covariances
    for i, name in enumerate(NAMES):
        if i not in SEEN:
            mean, sigma = np.radians(UNSEEN[name[:-2]])
            means[:, i], covariances[:, i, i] = mean, sigma**2
    lower = np.tril_indices(n)
    temporary = path.with_suffix(".tmp.npz")
    packed = covariances[:, lower[0], lower[1]].astype(np.float32)
    texts = {"names": np.array(NAMES), "sources": np.array(sources)}
    np.savez_compressed(temporary, **texts, weights=m.weights, means=means.astype(np.float32), covariances=packed)
    temporary.replace(path)


def describe(m: mixture.Mixture, s: Samples) -> None:
    """Print each component, and the correlations that matter."""
    names = [NAMES[i] for i in SEEN]
    r = mixture.responsibilities(m, s.x[:, SEEN])
    for k in np.argsort(-m.weights):
        shares = {a: float((s.weight * r[:, k])[s.activity == a].sum() / m.weights[k]) for a in SHARES}
        print(f"component {k}: weight {m.weights[k]:.2f}  ", {a: round(v, 2) for a, v in shares.items() if v > 0.05})
        sd = np.sqrt(np.diagonal(m.covariances[k]))
        show = [n for n in names if not n.endswith("_l") or n.startswith(("hip_f", "knee", "arm_flex", "elbow"))]
        print(
            "   ",
            "  ".join(
                f"{n} {np.degrees(m.means[k][names.index(n)]):.0f}+-{np.degrees(sd[names.index(n)]):.0f}" for n in show
            ),
        )
        c = m.covariances[k] / np.outer(sd, sd)
        pairs = sorted(
            ((c[i, j], names[i], names[j]) for i in range(len(names)) for j in range(i)), key=lambda p: -abs(p[0])
        )
        print("    correlations:", ", ".join(f"{a} {b} {v:+.2f}" for v, a, b in pairs[:8]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, help="file to keep the fitted motions in between runs")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "skeletons" / "posture_prior.npz")
    parser.add_argument("--components", type=int, nargs="+", default=[0, 1, 2, 4, 6, 8, 10, 12])
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.cache and args.cache.is_file():
        tracks = [Track(**d) for d in pickle.loads(args.cache.read_bytes())]
    else:
        tracks = solve_all(args.folder)
        if args.cache:
            args.cache.write_bytes(pickle.dumps([vars(t) for t in tracks]))
    print_motion_table(tracks, COORDINATES)
    recentre(tracks)
    samples = collect(tracks)
    table = {a: int((samples.activity == a).sum() // 2) for a in SHARES}
    print(f"{len(samples.x)} postures of {len(set(samples.fold))} people, both sides counted; by activity: {table}")
    K = choose(samples, args.components)
    floor = np.array([REGISTRATION[1] if NAMES[i].startswith("pelvis") else REGISTRATION[0] for i in SEEN])
    m = mixture.fit(samples.x[:, SEEN], samples.weight, K, floor, mirror([NAMES[i] for i in SEEN]))
    describe(m, samples)
    save(args.output, m, "CMU Graphics Lab Motion Capture Database (mocap.cs.cmu.edu, NSF EIA-0196217); UI-PRMD "
         "(Vakanski et al. 2018); subtalar, mtp, pro_sup, wrist: unverified")  # fmt: skip
    print(f"{K} components -> {args.output}, {args.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
