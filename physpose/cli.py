"""The command line: ``physpose fit | batch | id | check | view | skeletons | train | demo``, in Python's words."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from physpose import __version__
from physpose.cli_words import in_options
from physpose.errors import InputError, PhysposeError
from physpose.estimation.settings import PHYSICS

if TYPE_CHECKING:
    from rich.console import Console

    from physpose.progress import Progress
    from physpose.result import FitResult

EXIT_OK, EXIT_FAILED, EXIT_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 2, 130, 143
GRAVITY = (0.0, 0.0, -9.81)  # [m/s^2], world

EPILOG = """examples:
  physpose demo
  physpose fit clip.mp4 --height 1.75 --mass 70
  physpose fit cam1.mp4 cam2.mp4 cam3.mp4 --camera Calib.toml --height 1.72
  physpose fit walk.c3d --static stand.c3d --skeleton child --forces walk.c3d
  physpose fit keypoints.json --skeleton child --age 8 --sex f --height 1.28 --mass 26 --out girl
  physpose batch study.csv --out study --dry-run
  physpose id walk_ik.mot --skeleton model.osim --forces walk_grf.mot --lowpass 6
  physpose check girl
  physpose check ik.mot --skeleton adult --mass 80 --height 1.8 --lowpass 6 --out plausibility
  physpose view girl
  physpose skeletons child --age 8
  physpose train --motions motions.npz --keypoint-set coco17 --out lifter

exit codes: 0 done (check: plausible), 1 check: not plausible, or forces do not go with it; batch: a clip failed,
2 input or output that cannot be used, 130 interrupted, 143 terminated"""


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line, like every other error."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register("type", float, _number)
        self.register("type", int, _whole)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Argparse's own; what is unknown is refused here, by the command that knows what is possible."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = get_close_matches(unknown[0].partition("=")[0], self._option_string_actions, 1)
            self.error(f"unknown: {' '.join(unknown)}" + (f"; is {near[0]} meant?" if near else ""))
        return found, unknown

    def error(self, message: str) -> NoReturn:
        _complain(f"{message} (see {self.prog} --help)")
        sys.exit(EXIT_ERROR)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number is needed, e.g. 1.75, without its unit; {text!r} given") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number is needed; {text!r} given") from None


class _Gravity(argparse.Action):
    """Three numbers, or the word that leaves it open."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if values == ["estimate"]:
            namespace.gravity = "estimate"
            return
        try:
            x, y, z = (float(v) for v in values)
        except ValueError:
            parser.error(
                f"argument --gravity: expected 3 arguments, all numbers, or 'estimate'; {' '.join(values)} given"
            )
        namespace.gravity = (x, y, z)


def _parser() -> argparse.ArgumentParser:
    from physpose.cli_batch import add_batch  # here, since that takes the exit codes from this
    from physpose.cli_view import add_view

    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="physpose",
        description="From videos and keypoints of a person to a physical skeleton's motion.",
        epilog=EPILOG,
        formatter_class=raw,
    )
    parser.add_argument("--version", action="version", version=f"physpose {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_fit(commands)
    add_batch(commands)
    _add_id(commands)
    _add_check(commands)
    add_view(commands)
    _add_skeletons(commands)
    _add_train(commands)
    _add_demo(commands)
    return parser


def _add_fit(commands: Any) -> None:
    fit = commands.add_parser("fit", help="fit a physical skeleton to a video, to keypoints or to markers")
    fit.add_argument(
        "source", metavar="SOURCE", nargs="+",
        help="a video, a keypoint file or folder of them, one for each of several cameras; or markers: .trc, .c3d",
    )  # fmt: skip
    fit.add_argument("--skeleton", default="adult", help="name or file of a skeleton (default: %(default)s)")
    _add_subject(fit)
    fit.add_argument("--camera", metavar="FOCAL|FILE", help="focal length [px], or a calibration .toml, if known")
    fit.add_argument("--person", type=int, metavar="INDEX", help="which person (default: seen longest and largest)")
    fit.add_argument("--detector", default="mediapipe", help="finds keypoints in a video (default: %(default)s)")
    fit.add_argument("--keypoint-set", metavar="NAME", help="what the keypoints of a file are, if it does not tell")
    fit.add_argument("--fps", type=float, help="frames per second of a keypoint file [1/s]")
    fit.add_argument("--image-size", type=int, nargs=2, metavar=("W", "H"), help="[px] of a keypoint file's pictures")
    fit.add_argument(
        "--gravity", nargs="+", default=GRAVITY, metavar="G", action=_Gravity,
        help="three numbers GX GY GZ [m/s^2], z is up; or 'estimate': from flights that are seen",
    )  # fmt: skip
    fit.add_argument("--physics", choices=PHYSICS, help="how far the laws of motion shape it (default: full)")
    fit.add_argument("--no-floor", action="store_true", help="nothing to stand or sit on: who hangs, or is carried")
    fit.add_argument("--treadmill", type=float, default=0.0, metavar="SPEED", help="of the belt underfoot [m/s]")
    fit.add_argument(
        "--hold", action="append", default=[], metavar="POINT[:FROM-TO]",
        help="holds on, or is held, there: hand_r, hand_l, ..., while it is still, or at given times [s]",
    )  # fmt: skip
    _add_markers(fit)
    fit.add_argument("--check", choices=["mujoco"], help="also roll the motion out: what help does it need to stand?")
    _add_output(fit)
    fit.set_defaults(run=_fit)


def _add_markers(fit: argparse.ArgumentParser) -> None:
    lab = fit.add_argument_group("markers of a motion-capture laboratory (.trc, .c3d)")
    lab.add_argument("--static", metavar="FILE", help="the same person standing still: size and marker places")
    lab.add_argument("--forces", metavar="FILE", help="measured forces: .mot, .sto, .c3d, or external loads .xml")
    lab.add_argument("--force-lowpass", type=float, metavar="HZ", help="cutoff of the forces' filter (default: none)")
    lab.add_argument("--marker-set", metavar="NAME", help="'joint centres': use a gait model's points too")
    lab.add_argument(
        "--marker", action="append", default=[], metavar="LABEL=POINT", help="where a marker of another name sits"
    )
    yes_no = argparse.BooleanOptionalAction
    lab.add_argument("--scale", action=yes_no, help="find the body's size (default: not for a model file)")
    lab.add_argument("--register", action=yes_no, help="find the markers' places (default: not for a model file)")
    lab.add_argument("--units", choices=["mm", "cm", "m"], help="of the marker file, against what it says")
    lab.add_argument("--up", metavar="AXIS", help="of the marker file that points up: y, z, or e.g. --up=-x")


def _add_id(commands: Any) -> None:
    help_text = "inverse dynamics: joint torques of a known motion, with measured forces"
    inverse = commands.add_parser("id", help=help_text, description=help_text)
    inverse.add_argument(
        "motion", metavar="MOTION", help="coordinates over time: .mot, .sto, .bvh, .npz (also AMASS), a result's folder"
    )
    inverse.add_argument(
        "--skeleton", help="name or file of a skeleton, e.g. .osim, SMPL's .npz (default: a result's own, else adult)"
    )
    _add_subject(inverse)
    inverse.add_argument("--forces", metavar="FILE", help="measured forces: .mot, .sto, .c3d, or external loads .xml")
    inverse.add_argument("--lowpass", type=float, metavar="HZ", help="cutoff of the motion's zero-lag filter")
    inverse.add_argument("--force-lowpass", metavar="HZ|same", help="cutoff of the forces' filter (default: none)")
    inverse.add_argument(
        "--body", action="append", default=[], metavar="FORCE=BODY", help="on which body a force acts (default: found)"
    )
    inverse.add_argument("--degrees", action=argparse.BooleanOptionalAction, help="unit of angles, against the header")
    inverse.add_argument("--gravity", type=float, nargs=3, metavar=("GX", "GY", "GZ"), help="[m/s^2], z is up")
    inverse.add_argument("--like-opensim", action="store_true", help="with OpenSim's own deviation from exact torques")
    _add_output(inverse, default="MOTION's name + _physpose")
    inverse.set_defaults(run=_id)


def _add_check(commands: Any) -> None:
    check = commands.add_parser("check", help="judge whether a motion is possible, frame by frame")
    check.add_argument(
        "motion",
        metavar="MOTION",
        help="a result's folder or .npz, a .mot, .sto or .bvh, an .npz of time and q, or AMASS's",
    )
    check.add_argument("--skeleton", help="name or file of the body (default: the result's own; adult for .mot)")
    _add_subject(check)
    check.add_argument("--forces", metavar="FILE", help="measured forces: .mot, .sto, .c3d, or external loads .xml")
    check.add_argument("--force-lowpass", metavar="HZ|same", help="cutoff of the forces' filter (default: none)")
    check.add_argument("--gravity", type=float, nargs=3, metavar=("GX", "GY", "GZ"), help="[m/s^2], z is up")
    check.add_argument("--floor", metavar="HEIGHT|auto|none", help="height of the floor [m] (default: 0; .bvh: auto)")
    check.add_argument("--lowpass", type=float, metavar="HZ", help="cutoff for raw coordinates, e.g. 6 (default: none)")
    check.add_argument("--degrees", action=argparse.BooleanOptionalAction, help="unit of angles, against the header")
    check.add_argument("--scale", type=float, metavar="METRES", help="a unit of a .bvh, e.g. 0.0254 for inches")
    check.add_argument("--mujoco", action="store_true", help="also roll it out in MuJoCo: what help does it need?")
    check.add_argument(
        "--setting", action="append", default=[], metavar="NAME=VALUE",
        help="a threshold, e.g. friction=0.6, tolerated_share=0, joint_limit=0.1 (SI units, radians)",
    )  # fmt: skip
    check.add_argument("--out", type=Path, metavar="DIR", help="write plausibility.html, .json and .csv there")
    check.add_argument("--json", action="store_true", help="print one JSON object on stdout, and nothing else there")
    check.set_defaults(run=_check)


def _add_subject(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--age", type=float, help="[years]")
    parser.add_argument("--sex", help="f(emale), m(ale), or x: the mean of both")
    parser.add_argument("--height", type=float, help="[m]")
    parser.add_argument("--mass", type=float, help="[kg]")


def _add_output(parser: argparse.ArgumentParser, default: str = "SOURCE's name + _physpose") -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"folder for the results (default: {default})")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, and nothing else there")


def _add_skeletons(commands: Any) -> None:
    skeletons = commands.add_parser("skeletons", help="list the skeletons, or show one")
    skeletons.add_argument("name", metavar="NAME", nargs="?", help="the skeleton to show; without it, list them all")
    _add_subject(skeletons)
    skeletons.set_defaults(run=_skeletons)


def _add_train(commands: Any) -> None:
    help_text = "train a lifter, 2D keypoints of a video to 3D, on generated people"
    train = commands.add_parser("train", help=help_text, description=help_text)
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for weights, checkpoint and log")
    train.add_argument("--motions", metavar="FILE", help="recorded motions, .npz (default: sampled postures alone)")
    train.add_argument("--keypoint-set", default="blazepose33", metavar="NAME", help="(default: %(default)s)")
    train.add_argument(
        "--size", default="small", help="of the network: small, base, long, paper (default: %(default)s)"
    )
    train.add_argument("--no-temporal", action="store_true", help="single frames only, without the TMP-Module")
    train.add_argument("--ages", type=float, nargs=2, metavar=("FROM", "TO"), help="[years] (default: 3 to 80)")
    train.add_argument("--steps", type=int, default=2000, help="of the optimiser (default: %(default)s)")
    train.add_argument("--batch", type=int, default=96, help="sequences a step (default: %(default)s)")
    train.add_argument("--frames", type=int, default=8, help="of a sequence (default: %(default)s)")
    train.add_argument(
        "--rate", type=float, nargs=2, default=(8.0, 30.0), metavar=("FROM", "TO"),
        help="frames a second (default: 8 to 30)",
    )  # fmt: skip
    train.add_argument(
        "--takes", type=int, default=1, help="batches in turn that film the same bodies (default: %(default)s)"
    )
    train.add_argument(
        "--single-steps",
        type=float,
        default=0.25,
        metavar="PART",
        help="of the steps, without TMP-Module (default: %(default)s)",
    )
    train.add_argument("--lr", type=float, default=2e-3, help="highest learning rate (default: %(default)s)")
    train.add_argument(
        "--validate-every", type=int, default=250, metavar="STEPS",
        help="five times in vain halve the learning rate, twenty times end the training (default: %(default)s)",
    )  # fmt: skip
    train.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    train.add_argument("--precision", default="float32", help="or bfloat16, on GPUs (default: %(default)s)")
    train.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    train.add_argument(
        "--workers", type=int, default=0, help="processes that make people ahead, for a GPU (default: %(default)s)"
    )
    train.add_argument("--start", metavar="FILE", help="weights to begin with")
    train.add_argument("--resume", action="store_true", help="go on with the training in --out")
    train.add_argument("--curves", action="store_true", help="also draw the learning curves; needs matplotlib")
    train.set_defaults(run=_train)


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser("demo", help="fetch a real clip, fit it, say where the report is")
    _add_output(demo, default="demo")
    demo.set_defaults(run=_demo)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Args:
        argv: the arguments after the program's name; None takes ``sys.argv``.
    """
    args = _parser().parse_args(argv)
    try:
        with _sigterm_unwinds():
            code = args.run(args)
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of stdout, e.g. `head`, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except (PhysposeError, OSError) as error:
        _complain(in_options(_one_line(error), vars(args)))
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("physpose: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_OK if code is None else int(code)


@contextlib.contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """SIGTERM raises SystemExit, so that temporary files are removed."""

    def terminate(signum: int, frame: object) -> NoReturn:
        sys.exit(EXIT_TERMINATED)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _complain(message: str) -> None:
    print(f"physpose: error: {message}", file=sys.stderr)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def _fit(args: argparse.Namespace) -> None:
    from physpose.estimation.holds import holds_of  # here, since it loads torch

    source = args.source[0] if len(args.source) == 1 else args.source
    out = args.out or _after(args.source[0])
    asked = {k: getattr(args, k) for k in ("skeleton", "age", "sex", "height", "mass", "person", "detector", "fps")}
    asked |= {"camera": _camera(args.camera), "keypoint_set": args.keypoint_set, "gravity": args.gravity}
    asked |= {"image_size": args.image_size and tuple(args.image_size), "physics": args.physics, "check": args.check}
    asked |= {k: getattr(args, k) for k in ("static", "forces", "force_lowpass", "scale", "register", "units", "up")}
    asked |= {
        "marker_set": _marker_set(args),
        "floor": not args.no_floor,
        "treadmill": args.treadmill,
        "holds": holds_of(args.hold) if args.hold else None,
    }
    _fit_and_report(source, out, as_json=args.json, **asked)


def _id(args: argparse.Namespace) -> None:
    from physpose import inverse_dynamics

    out = args.out or _after(args.motion)
    same = ("skeleton", "age", "sex", "height", "mass", "forces", "lowpass", "degrees", "like_opensim")
    asked = {k: getattr(args, k) for k in same}
    asked |= {"force_lowpass": _cutoff(args.force_lowpass), "bodies": _pairs(args.body)}
    asked |= {"gravity": args.gravity and tuple(args.gravity)}
    _report(lambda: inverse_dynamics(args.motion, **asked), out, as_json=args.json)


def _after(source: str) -> Path:
    """The folder that is called after a source.

    Raises:
        InputError: it holds the result of another file of that name.
    """
    out = Path(f"{Path(source).resolve().stem}_physpose")
    held = _source_of(out / "result.npz")
    if held is not None and held.exists() and Path(source).exists() and not held.samefile(source):
        raise InputError(f"{out} holds the result of {held}, {source} is another: choose another folder with --out")
    return out


def _source_of(arrays: Path) -> Path | None:
    """What a saved result was made from; None without one."""
    from physpose.io.npz import read_npz

    if not arrays.is_file():
        return None
    found, _ = read_npz(arrays, ("about",))
    return Path(json.loads(str(found["about"]))["source"]) if "about" in found else None


def _cutoff(text: str | None) -> float | str | None:
    if text is None or text == "same":
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--force-lowpass {text!r}: a number [Hz] or 'same' is needed") from None


def _marker_set(args: argparse.Namespace) -> str | dict[str, str] | None:
    if args.marker and args.marker_set:
        raise InputError("--marker-set and --marker exclude each other; name the joint centres by --marker too")
    return _pairs(args.marker, "--marker", "LABEL=POINT", "'right hip=asis_r'") or args.marker_set


def _pairs(
    texts: Sequence[str], option: str = "--body", form: str = "FORCE=BODY", example: str = "'plate 1=calcn_r'"
) -> dict[str, str]:
    """ "KEY=VALUE" as key -> value."""
    for text in texts:
        if "=" not in text:
            raise InputError(f"{option} {text!r}: {form} is needed, e.g. {example}")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def _demo(args: argparse.Namespace) -> None:
    from physpose.demo import CREDIT, demo_clip

    out = args.out or Path("demo")
    _check_writable(out)
    clip = demo_clip()
    print(CREDIT, file=sys.stderr)
    _fit_and_report(str(clip), out, as_json=args.json)


def _check(args: argparse.Namespace) -> int:
    """Judge, print, save; the exit code tells the verdict."""
    if args.out is not None:
        _check_writable(args.out)
    words = ("skeleton", "age", "sex", "height", "mass", "gravity", "lowpass", "degrees", "scale", "mujoco", "forces")
    asked = {k: getattr(args, k) for k in words} | {"force_lowpass": _cutoff(args.force_lowpass)}
    with _stdout_is_stderr() if args.json else contextlib.nullcontext():
        from physpose import check
        from physpose.plausibility.settings import settings_of

        settings = settings_of(_pairs(args.setting, "--setting", "NAME=VALUE", "friction=0.6"))
        found = check(args.motion, floor=_floor(args.floor), settings=settings, **asked)
        files = found.save(args.out) if args.out is not None else {}
    if args.json:
        about = found.to_dict() | {"files": {kind: str(path) for kind, path in files.items()}}
        print(json.dumps(about, indent=2, allow_nan=False))
    else:
        from rich.console import Console

        from physpose.plausibility.table import print_plausibility

        print_plausibility(found, Console())
        for path in files.values():
            print(Path(path).resolve())
    return EXIT_OK if found.passed else EXIT_FAILED


def _floor(text: str | None) -> float | str | None:
    try:
        return text if text is None else float(text)
    except ValueError:
        return text


def _fit_and_report(source: str | list[str], out: Path, *, as_json: bool, **asked: Any) -> None:
    from physpose import fit
    from physpose.progress import for_console

    progress = for_console(_console())
    _report(lambda: fit(source, progress=progress, **asked), out, as_json=as_json, progress=progress)


def _report(compute: Callable[[], FitResult], out: Path, *, as_json: bool, progress: Progress | None = None) -> None:
    """Compute, save, and print the summary."""
    from physpose.progress import SILENT
    from physpose.summary import summarize

    _check_writable(out)
    with _stdout_is_stderr() if as_json else contextlib.nullcontext():
        result = compute()
        with (progress or SILENT).stage("save"):
            files = result.save(out)
    summary = summarize(result, files)
    if as_json:
        print(json.dumps(summary, indent=2, allow_nan=False))
    else:
        _print_result(summary, files)


def _print_result(summary: dict[str, Any], files: dict[str, Path]) -> None:
    from rich.console import Console

    from physpose.summary import print_summary

    print_summary(summary, Console())
    reports = [path for path in files.values() if Path(path).suffix == ".html"]
    for path in reports:
        print(f"\nreport: {Path(path).resolve()}")


def _train(args: argparse.Namespace) -> None:
    """Train, say where the weights are; several processes when ``torchrun`` starts them."""
    _check_writable(args.out)
    from physpose.data.generator import GeneratorSettings
    from physpose.data.motion_bank import load_motions
    from physpose.progress import for_console
    from physpose.training.lifter import LifterTraining, train_lifter
    from physpose.training.loop import CHECKPOINT, LOG, WEIGHTS
    from physpose.training.record import draw_curves
    from physpose.training.settings import Schedule

    if args.resume and not (args.out / CHECKPOINT).is_file():
        print(f"{args.out} holds no training yet: it begins", file=sys.stderr)
    given = {k: getattr(args, k) for k in ("keypoint_set", "takes", "frames")}
    generator = GeneratorSettings(**given, rate=(args.rate[0], args.rate[1]))
    if args.ages:
        generator = replace(generator, ages=((args.ages[0], args.ages[1]),))
    training = LifterTraining(
        size=args.size, temporal=not args.no_temporal, single_steps=args.single_steps, generator=generator
    )  # fmt: skip
    schedule = Schedule(
        **{k: getattr(args, k) for k in ("steps", "batch", "lr", "seed", "precision", "validate_every")}
    )
    course = train_lifter(
        args.out, training, schedule, bank=load_motions(args.motions) if args.motions else None, start=args.start,
        resume=args.resume, device=args.device, workers=args.workers, progress=for_console(_console()),
    )  # fmt: skip
    if os.environ.get("RANK", "0") == "0":
        print(f"validation {course.best:.4f} statures at step {course.best_step}: {(args.out / WEIGHTS).resolve()}")
        if args.curves:
            print(draw_curves(args.out / LOG, args.out / "curves.png").resolve())


def _camera(text: str | None) -> float | Path | None:
    """``--camera 1450`` is a focal length [px]; anything else is a file."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return Path(text)


def _check_writable(out: Path) -> None:
    """Refuse an unusable output folder before the long work; leaves nothing behind.

    Raises:
        InputError: ``out`` is no folder, or nothing can be written there.
    """
    nearest = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    if not nearest.is_dir():
        raise InputError(f"cannot write to {out}: {nearest} is not a folder; choose another with --out")
    try:
        with tempfile.TemporaryDirectory(prefix=".physpose-", dir=nearest):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}; choose another folder with --out") from error


@contextlib.contextmanager
def _stdout_is_stderr() -> Iterator[None]:
    """Whatever any library, compiled ones too, prints on stdout goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _skeletons(args: argparse.Namespace) -> None:
    from physpose.skeleton import describe, list_skeletons, load_skeleton

    who = {k: getattr(args, k) for k in ("age", "sex", "height", "mass")}
    if args.name is None:
        given = [f"--{k}" for k, x in who.items() if x is not None]
        if given:
            raise InputError(f"{', '.join(given)} of whom? physpose skeletons NAME {given[0]} ... shows one")
        for name, about in list_skeletons().items():
            print(f"{name:<8} {about}")
        print("\nphyspose skeletons NAME [--age --sex --height --mass] shows one")
    else:
        print(describe(load_skeleton(args.name, **who)))
