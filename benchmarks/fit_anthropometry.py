"""Where the proportions and growth tables of ``skeletons/`` come from: fits them to the surveys again and compares.

    PHYSPOSE_DATA=... python benchmarks/fit_anthropometry.py          # print the tables and compare
    PHYSPOSE_DATA=... python benchmarks/fit_anthropometry.py --write  # write them to skeletons/

Needs, under PHYSPOSE_DATA: ``child_anthro`` (AnthroKids: Snyder et al. 1977; CDC 2000 growth tables) and
``nimblephysics/data/osim.tar.xz`` (ANSUR II, 2012). All lengths are fractions of body height.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
KNOTS = np.array([2.0, 3, 4, 6, 8, 10, 12, 14, 16, 18])  # [years]
BANDWIDTH = 0.8  # [years] of the Gaussian kernel
SEXES = {"f": "FEMALE", "m": "MALE"}
# Hip-to-lumbar-joint height and hip-centre depth of Rajagopal 2016, a body of 1.70 m: (0.0815 + 0.0785) / 1.70
PELVIS_HEIGHT = 0.0941
# Distance of the glenohumeral centres over biacromial breadth: the acromion's edge lies some 9 mm outside the humeral
# head's centre (acromion index 0.64: Nyffeler et al. 2006); Rajagopal 2016 has 0.845
SHOULDER_OF_BIACROMIAL = 0.957
# Distance of the hip joint centres over bicristal breadth: 0.66 of the distance of the ASIS plus 15 mm (Harrington et
# al. 2007), the latter taken as 0.87 of bicristal breadth (unverified); Rajagopal 2016 has 0.58
HIPS_OF_BICRISTAL = 0.63
# Shoulder to elbow joint centre over acromion-radiale length: 0.2866 m of 0.1909 x 1.70 m (Rajagopal 2016, ANSUR)
UPPER_ARM_OF_ACROMION_RADIALE = 0.883
# Head-and-neck length goes as head circumference to this power (unverified): the face and neck grow more than the skull
HEAD_POWER = 1.45
# How much of the growth of head circumference from 3 years to adult is done (unverified interpolation)
HEAD_PROGRESS = {3: 0.0, 4: 0.12, 6: 0.31, 8: 0.43, 10: 0.55, 12: 0.68, 14: 0.81, 16: 0.92, 18: 1.0}
# Biacromial and bicristal breadth over stature in children (unverified)
BIACROMIAL = {2: 0.236, 3: 0.231, 4: 0.227, 6: 0.223, 8: 0.222, 10: 0.222, 12: 0.222, 14: 0.224}
BICRISTAL = {2: 0.172, 3: 0.166, 4: 0.162, 6: 0.158, 8: 0.158, 10: 0.159, 12: 0.161, 14: 0.162}
# de Leva 1996: joint-centre lengths over stature
DE_LEVA = {"forearm": {"f": 264.3 / 1735, "m": 268.9 / 1741},
           "hand": {"f": 170.1 / 1735, "m": 187.9 / 1741}}  # fmt: skip


def read_ansur(data: Path) -> dict[str, pd.DataFrame]:
    """ANSUR II: sex -> table, lengths in mm."""
    with tarfile.open(data / "nimblephysics/data/osim.tar.xz") as archive:
        names = {s: f"osim/ANSUR/ANSUR_II_{word}_Public.csv" for s, word in SEXES.items()}
        text = {s: archive.extractfile(n).read().decode("latin1") for s, n in names.items()}  # type: ignore[union-attr]
    return {s: pd.read_csv(io.StringIO(t)) for s, t in text.items()}


def read_anthrokids(data: Path) -> pd.DataFrame:
    """AnthroKids with lengths as fractions of stature, gross outliers dropped."""
    table = pd.read_csv(data / "child_anthro/anthrokids/anthrokids.csv").dropna(subset=["age", "height", "gender"])
    out = pd.DataFrame({"age": table.age, "sex": table.gender.str.lower(), "height": table.height / 100})
    for name, column in (("sitting", "sittingHeight"), ("knee", "kneeHeight"), ("buttock_knee", "upperLegLength"),
                         ("forearm_hand", "forearmLength")):  # fmt: skip
        out[name] = pd.to_numeric(table[column], errors="coerce") / 1000 / out.height
    out["foot"] = table.foot / 100 / out.height
    for name in ("sitting", "knee", "buttock_knee", "forearm_hand", "foot"):
        band = out.groupby(out.age.round())[name]
        centre, spread = band.transform("median"), band.transform(lambda x: 1.4826 * (x - x.median()).abs().median())
        out.loc[(out[name] - centre).abs() > 5 * spread, name] = np.nan
    return out


def local_line(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Local linear regression with a Gaussian kernel: unlike a moving mean it is not biased at the ends."""
    values = []
    for a in at:
        w = np.sqrt(np.exp(-0.5 * ((x - a) / BANDWIDTH) ** 2))
        values.append(np.linalg.lstsq(np.stack([w, w * (x - a)], 1), w * y, rcond=None)[0][0])
    return np.array(values)


def growth_curve(kids: pd.DataFrame, sex: str, name: str) -> tuple[np.ndarray, float]:
    """Fraction of stature at KNOTS over its value at 17-20 years, and the spread of its logarithm."""
    table = kids[kids.sex == sex][["age", name]].dropna()
    x, y = table.age.to_numpy(), table[name].to_numpy()
    mature = np.mean(y[x >= 17])
    curve = local_line(x, y, KNOTS)
    spread = float(np.std(np.log(y / np.interp(x, KNOTS, curve))))
    curve[-1] = mature
    return curve / mature, spread


def adult_dimensions(ansur: dict[str, pd.DataFrame]) -> dict[str, dict[str, float]]:
    """Fractions of height: name -> sex -> value."""
    out: dict[str, dict[str, float]] = {}
    for sex, t in ansur.items():
        r = {c: float((t[c] / t.stature).mean()) for c in t.columns if pd.api.types.is_numeric_dtype(t[c])}
        hip, knee, ankle = r["trochanterionheight"], r["lateralfemoralepicondyleheight"], r["lateralmalleolusheight"]
        values = {
            "foot_length": r["footlength"], "foot_breadth": r["footbreadthhorizontal"], "ankle_height": ankle,
            "shank": knee - ankle, "thigh": hip - knee, "pelvis_height": PELVIS_HEIGHT, "pelvis_depth": 0.1007 / 1.70,
            "pelvis_width": HIPS_OF_BICRISTAL * r["bicristalbreadth"],
            "torso": r["cervicaleheight"] - hip - PELVIS_HEIGHT, "torso_depth": r["chestdepth"],
            "shoulder_width": SHOULDER_OF_BIACROMIAL * r["biacromialbreadth"], "head": 1 - r["cervicaleheight"],
            "head_depth": r["headlength"], "head_breadth": r["headbreadth"],
            "upper_arm": UPPER_ARM_OF_ACROMION_RADIALE * r["acromionradialelength"],
            **{n: v[sex] for n, v in DE_LEVA.items()}, "hand_breadth": r["handbreadth"],
        }  # fmt: skip
        for name, value in values.items():
            out.setdefault(name, {})[sex] = value
    return out


def head_circumference(data: Path, sex: str, adult: float) -> np.ndarray:
    """Head circumference [m] at KNOTS: CDC 2000 to 3 years, then towards the adult's."""
    table = pd.read_csv(data / "child_anthro/pedbp/data-raw/cdc2000/hcageinf.csv")
    table = table[table.Sex == (1 if sex == "m" else 2)]
    at = np.interp(np.minimum(KNOTS, 3) * 12, table.Agemos, table.M / 100)
    progress = np.interp(KNOTS, list(HEAD_PROGRESS), list(HEAD_PROGRESS.values()))
    return at + progress * (adult - at)


def child_dimensions(data: Path, ansur: dict[str, pd.DataFrame]) -> dict[str, dict[str, np.ndarray]]:
    """Fractions of height at KNOTS: name -> sex -> values; at 18 years they are the adult's."""
    kids, adult = read_anthrokids(data), adult_dimensions(ansur)
    seat = {s: float((1 - (t.stature - t.trochanterionheight) / t.sittingheight).mean()) for s, t in ansur.items()}
    stature = pd.read_csv(data / "child_anthro/pedbp/data-raw/cdc2000/statage.csv")
    out: dict[str, dict[str, np.ndarray]] = {}
    for sex, t in ansur.items():
        a = {n: v[sex] for n, v in adult.items()}
        g = {n: growth_curve(kids, sex, n)[0] for n in ("sitting", "knee", "forearm_hand", "foot")}
        grown = np.clip((KNOTS - 10) / 8, 0, 1)  # the hip's height above the seat differs by sex in adults only
        above_seat = 0.5 * (seat["f"] + seat["m"]) * (1 - grown) + seat[sex] * grown
        sitting = float((t.sittingheight / t.stature).mean()) * g["sitting"]
        hip_now, hip_then = 1 - (1 - above_seat) * sitting, a["ankle_height"] + a["shank"] + a["thigh"]
        hip = hip_now + (hip_then - hip_now[-1])
        knee = (a["ankle_height"] + a["shank"]) * g["knee"]
        height = np.interp(KNOTS * 12, *stature[stature.Sex == (1 if sex == "m" else 2)][["Agemos", "M"]].to_numpy().T)
        skull = head_circumference(data, sex, float(t.headcircumference.mean()) / 1000)
        relative = skull / skull[-1]
        size = height[-1] / height  # of the adult's metres, as a fraction of the child's height
        head = a["head"] * relative**HEAD_POWER * size
        trunk = 1 - hip - head
        share = a["pelvis_height"] / (a["pelvis_height"] + a["torso"])
        flat = np.ones(len(KNOTS))
        values = {
            "foot_length": a["foot_length"] * g["foot"], "foot_breadth": a["foot_breadth"] * g["foot"],
            "ankle_height": a["ankle_height"] * flat, "shank": knee - a["ankle_height"], "thigh": hip - knee,
            "pelvis_height": share * trunk, "pelvis_depth": a["pelvis_depth"] * flat,
            "pelvis_width": HIPS_OF_BICRISTAL * breadth(BICRISTAL, a["pelvis_width"] / HIPS_OF_BICRISTAL),
            "torso": (1 - share) * trunk, "torso_depth": a["torso_depth"] * flat,
            "shoulder_width": SHOULDER_OF_BIACROMIAL
            * breadth(BIACROMIAL, a["shoulder_width"] / SHOULDER_OF_BIACROMIAL),
            "head": head, "head_depth": a["head_depth"] * relative * size,
            "head_breadth": a["head_breadth"] * relative * size,
            **{n: a[n] * g["forearm_hand"] for n in ("upper_arm", "forearm", "hand", "hand_breadth")},
        }  # fmt: skip
        for name, value in values.items():
            out.setdefault(name, {})[sex] = value
    return out


def infant_head(data: Path, ansur: dict[str, pd.DataFrame]) -> dict[str, dict[str, np.ndarray]]:
    """Fractions of length at 0, 0.5, 1 and 2 years, mean of both sexes: name -> {"all": values}."""
    months, folder = np.array([0.0, 6, 12, 24]), data / "child_anthro/pedbp/data-raw/cdc2000"

    def median(file: str) -> np.ndarray:
        table = pd.read_csv(folder / file).apply(pd.to_numeric, errors="coerce").dropna(subset=["Agemos"])
        sexes = [table[table.Sex == code] for code in (1, 2)]
        return np.mean([np.interp(months, t.Agemos, t.M / 100) for t in sexes], axis=0)

    def adult(f: Any) -> float:
        return float(np.mean([f(t).mean() / 1000 for t in ansur.values()]))

    relative, length = median("hcageinf.csv") / adult(lambda t: t.headcircumference), median("lenageinf.csv")
    return {
        "head": {"all": adult(lambda t: t.stature - t.cervicaleheight) * relative**HEAD_POWER / length},
        "head_depth": {"all": adult(lambda t: t.headlength) * relative / length},
        "head_breadth": {"all": adult(lambda t: t.headbreadth) * relative / length},
    }


def breadth(children: dict[int, float], adult: float) -> np.ndarray:
    return np.interp(KNOTS, [*children, 18], [*children.values(), adult])


def growth_tables(data: Path) -> dict[str, Any]:
    """LMS tables of CDC 2000: quantity -> {age, f: {L, M, S}, m: {L, M, S}}, in years, metres, kilograms."""
    folder = data / "child_anthro/pedbp/data-raw/cdc2000"
    infant = np.array([0, 1, 2, 3, 4, 6, 8, 10, 12, 15, 18, 21, 24.0])
    child = np.arange(24, 241, 6.0)
    files = {"length": ("lenageinf", infant, 0.01), "weight": ("wtageinf", infant, 1.0),
             "stature": ("statage", child, 0.01), "bmi": ("bmiagerev", child, 1.0)}  # fmt: skip
    return {name: lms_table(folder / f"{file}.csv", months, unit) for name, (file, months, unit) in files.items()}


def lms_table(path: Path, months: np.ndarray, unit: float) -> dict[str, Any]:
    table = pd.read_csv(path).apply(pd.to_numeric, errors="coerce").dropna(subset=["Agemos"])
    out: dict[str, Any] = {"age": [round(float(m) / 12, 4) for m in months]}
    for sex, code in (("m", 1), ("f", 2)):
        t = table[table.Sex == code]
        scale = {"L": 1.0, "M": unit, "S": 1.0}
        out[sex] = {k: [round(float(x), 5) for x in np.interp(months, t.Agemos, t[k] * u)] for k, u in scale.items()}
    return out


def spreads(data: Path, ansur: dict[str, pd.DataFrame]) -> dict[str, dict[str, float]]:
    """Standard deviation of log(length / height): file -> scale group -> value."""

    def adult(f: Any) -> float:
        return round(float(np.mean([np.std(np.log(f(t) / t.stature)) for t in ansur.values()])), 3)

    kids = read_anthrokids(data)
    child = {n: round(float(np.mean([growth_curve(kids, s, n)[1] for s in "fm"])), 3)
             for n in ("sitting", "knee", "buttock_knee", "forearm_hand", "foot")}  # fmt: skip
    return {
        "adult": {
            "pelvis_width": adult(lambda t: t.bicristalbreadth),
            "torso_length": adult(lambda t: t.cervicaleheight - t.trochanterionheight),
            "shoulder_width": adult(lambda t: t.biacromialbreadth),
            "head": adult(lambda t: t.stature - t.cervicaleheight),
            "thigh_length": adult(lambda t: t.trochanterionheight - t.lateralfemoralepicondyleheight),
            "shank_length": adult(lambda t: t.lateralfemoralepicondyleheight - t.lateralmalleolusheight),
            "foot": adult(lambda t: t.footlength), "upper_arm": adult(lambda t: t.acromionradialelength),
            "forearm": adult(lambda t: t.radialestylionlength), "hand": adult(lambda t: t.handlength),
        },
        "child": child,
    }  # fmt: skip


def numbers(values: Any) -> Any:
    return [round(float(x), 4) for x in values] if np.ndim(values) else round(float(values), 4)


def replace_numbers(path: Path, table: dict[str, dict[str, Any]]) -> None:
    """Put new numbers into the lines of a skeleton file's dimensions."""
    text = path.read_text(encoding="utf-8")
    for name, value in table.items():
        new = ", ".join(f"{key}: {numbers(v)}" for key, v in value.items())
        pattern = rf"(?m)^(  {name}: \{{(?:age: \[.*?\], )?)(?:f|all): .*?(?=, source)"
        text, n = re.subn(pattern, rf"\g<1>{new}", text, count=1)
        if n != 1:
            raise SystemExit(f"{path.name}: no line for {name}")
    path.write_text(text, encoding="utf-8")


def compare(path: Path, table: dict[str, dict[str, Any]]) -> float:
    stored = yaml.safe_load(path.read_text(encoding="utf-8"))["dimensions"]
    return max(float(np.abs(np.subtract(stored[n][s], v[s])).max()) for n, v in table.items() for s in v)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write to skeletons/")
    write = parser.parse_args().write
    if "PHYSPOSE_DATA" not in os.environ:
        raise SystemExit("set PHYSPOSE_DATA to the folder that holds child_anthro and nimblephysics")
    data = Path(os.environ["PHYSPOSE_DATA"])
    ansur = read_ansur(data)
    tables: dict[str, Any] = {
        "adult": adult_dimensions(ansur),
        "child": child_dimensions(data, ansur),
        "infant": infant_head(data, ansur),
    }
    for name, table in tables.items():
        print(f"{name}: fractions of height" + (f" at {KNOTS.tolist()} years" if name == "child" else ""))
        for dimension, v in table.items():
            print(f"  {dimension}: " + ", ".join(f"{key}: {numbers(x)}" for key, x in v.items()))
        path = ROOT / "skeletons" / f"{name}.yaml"
        if write:
            replace_numbers(path, table)
        print(f"  largest difference to {path.name}: {compare(path, table):.5f}")
    print("spread of log(length / height):", spreads(data, ansur))
    for sex, t in ansur.items():
        bmi = float((t.weightkg / 10 / (t.stature / 1000) ** 2).median())
        print(f"adults, {sex}: median body mass index {bmi:.2f} kg/m^2, mean stature {t.stature.mean() / 1000:.4f} m")
    if write:
        path = ROOT / "skeletons/growth.yaml"
        head = "".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if line.startswith("#"))
        body = {"source": "cdc2000", **growth_tables(data)}
        path.write_text(
            head + yaml.safe_dump(body, default_flow_style=None, sort_keys=False, width=118), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
