"""``import physpose`` is light, and the package imports nothing that pyproject.toml does not declare."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import physpose

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "physpose").rglob("*.py"))
# Import name -> name in pyproject.toml, where they differ.
DISTRIBUTION = {"yaml": "pyyaml", "pinocchio": "pin", "warp": "warp-lang"}
# Brought by a declared package and used on purpose, together with it.
BROUGHT_BY = {"flatbuffers": "mediapipe", "cv2": "mediapipe"}
HEAVY = [
    "av",
    "cv2",
    "matplotlib",
    "mediapipe",
    "mujoco",
    "numpy",
    "pandas",
    "pinocchio",
    "rich",
    "scipy",
    "torch",
    "yaml",
]
ONE_FOLDER_ONLY = {"warp", "mediapipe", "rtmlib", "ray", "smplx", "flatbuffers", "viser"}


def test_import_loads_no_heavy_package():
    code = f"import sys, physpose; print(*[m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_who_hands_out_clips_loads_no_heavy_package():
    """The driver of a batch starts its workers before it has loaded what only they need."""
    heavy = [m for m in HEAVY if m not in ("numpy", "yaml")]
    code = f"import sys, physpose.batch; print(*[m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_dynamics_of_a_motion_does_not_load_warp():
    """It is asked for twice a fit: what the kernel saves is far less than its loading takes."""
    code = (
        "import sys, numpy as np, physpose; from physpose.estimation.dynamics import dynamics_of; "
        "body = physpose.load_skeleton('adult'); n = physpose.KinematicChain(body).nq; "
        "q = np.zeros((20, n)); q[:, 2], q[:, 6] = 1.0, 1.0; "
        "dynamics_of(body, np.arange(20) / 30, q, np.zeros((20, len(body.contact_points))), np.array([0, 0, -9.81])); "
        "print('warp' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False"]


@pytest.mark.parametrize("name", [n for n in physpose.__all__ if n != "__version__"])
def test_every_public_name_loads(name):
    assert getattr(physpose, name) is not None
    assert name in dir(physpose)


def test_unknown_name_lists_what_exists():
    with pytest.raises(AttributeError, match="no attribute 'fitt'; it has: .*KinematicChain.*fit"):
        _ = physpose.fitt


def test_core_modules_import_core_dependencies_only_at_the_top():
    core, _ = _declared()
    undeclared = {(p.name, m) for p in MODULES for m in _imports(p, top_level=True) if _distribution(m) not in core}
    assert undeclared == set()


def test_every_imported_package_is_declared():
    core, extras = _declared()
    undeclared = {(p.name, m) for p in MODULES for m in _imports(p) if _distribution(m) not in core | extras}
    assert undeclared == set()


def test_every_core_dependency_is_imported():
    core, _ = _declared()
    imported = {_distribution(m) for p in MODULES for m in _imports(p)}
    assert core - imported == set()


@pytest.mark.parametrize("package", sorted(ONE_FOLDER_ONLY))
def test_optional_package_is_imported_in_one_folder_only(package):
    users = {str(p.parent.relative_to(ROOT)) for p in MODULES if package in _imports(p)}
    assert len(users) <= 1, users


def test_every_extra_that_an_error_names_exists():
    extras = _extras()
    named = {e for p in MODULES for e in re.findall(r"MissingPackageError\([^)]*?, \"([a-z]+)\", ", p.read_text())}
    assert named
    assert named - set(extras) == set()


def _extras() -> dict[str, list[str]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def _declared() -> tuple[set[str], set[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [r for name, rs in _extras().items() if name != "dev" for r in rs]
    return {_name(r) for r in project["dependencies"]}, {_name(r) for r in extras}


def _name(requirement: str) -> str:
    return re.split(r"[<>=!~\[; ]", requirement)[0].lower()


def _distribution(module: str) -> str:
    return DISTRIBUTION.get(module, BROUGHT_BY.get(module, module))


def _imports(path: Path, top_level: bool = False) -> set[str]:
    """Third-party packages that the file imports; those under TYPE_CHECKING or in functions not where ``top_level``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level else list(ast.walk(tree))
    found = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    found |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and not n.level}
    return {m.split(".")[0] for m in found} - {"physpose"} - set(sys.stdlib_module_names)
