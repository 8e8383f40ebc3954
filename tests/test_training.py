"""Training: exact resume, equal gradients in several processes, honest failures, and that it learns."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from physpose.cli import main
from physpose.data.generator import GeneratorSettings, SequenceGenerator
from physpose.data.motion_bank import MotionBank
from physpose.errors import InputError, UnknownNameError
from physpose.networks.gsr import GSRConfig
from physpose.networks.lifter import VIEW, LifterConfig, load_lifter
from physpose.networks.tmp import TMPConfig
from physpose.networks.weights import save_weights
from physpose.training import lifter as lifting
from physpose.training.lifter import LifterTask, LifterTraining, joint_error, lifter_config, train_lifter
from physpose.training.loop import CHECKPOINT, LOG, WEIGHTS, TrainingError, train
from physpose.training.parallel import Processes
from physpose.training.record import draw_curves
from physpose.training.settings import Schedule

QUICK = Schedule(steps=6, batch=4, warmup=1, validate_every=2, checkpoint_every=2)
TINY = LifterConfig(
    gsr=GSRConfig(features=VIEW, embed=8, width=8, node_width=4, trunk=16, blocks=1, dropout=0.2),
    tmp=TMPConfig(window=2, width=16, heads=2),
    rounds=2,
    sure=True,
)


@pytest.fixture
def training(monkeypatch) -> LifterTraining:
    """A lifter of a few thousand parameters, with dropout: resuming has random numbers to restore."""
    monkeypatch.setitem(lifting.SIZES, "tiny", TINY)
    settings = GeneratorSettings(keypoint_set="coco17", people=2, frames=4)
    return LifterTraining(size="tiny", validation_batches=1, generator=settings)


class Line:
    """A ``loop.Task``: y = 3 x - 1 by a linear layer. Where ``broken`` says so the loss is NaN."""

    unit = "m"

    def __init__(self, broken: int = -1, floor: float = 0.0):
        self.broken, self.floor = broken, floor

    def about(self):
        return {"line": "3 x - 1"}

    def loss(self, module, step, batch, part):
        x = torch.randn(batch, 1, generator=torch.Generator().manual_seed(step))[part.part(batch)]
        error = ((module(x) - 3 * x + 1) ** 2).mean()
        return error * (float("nan") if step == self.broken else 1.0), {"square": error}

    def validate(self, module, step):
        return max(float((module.weight - 3).detach().abs() + (module.bias + 1).detach().abs()), self.floor)

    def save(self, module, path, about):
        return save_weights(module, path, about)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / LOG).open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_a_line_is_learned(tmp_path):
    torch.manual_seed(0)
    module = nn.Linear(1, 1)
    course = train(
        Line(), module, Schedule(steps=400, batch=16, lr=0.05, warmup=5, weight_decay=0, validate_every=50), tmp_path
    )
    assert course.best < 0.02
    assert course.step == 400
    kept = nn.Linear(1, 1)
    from physpose.networks.weights import load_weights

    about = load_weights(kept, tmp_path / WEIGHTS)
    assert Line().validate(kept, 0) == pytest.approx(course.best)
    assert about["figures"]["validation"] == course.best
    assert [int(r["step"]) for r in rows(tmp_path)] == list(range(50, 401, 50))


def test_learning_rate_warms_up_halves_and_cools_down():
    s = Schedule(steps=100, lr=1.0, warmup=9, cooldown=0.2)
    assert s.rate(0, 0) == pytest.approx(0.1)
    assert s.rate(50, 0) == 1.0
    assert s.rate(50, 2) == 0.25
    assert s.rate(90, 0) == pytest.approx(0.5)
    assert s.rate(99, 0) == pytest.approx(0.05)


def test_plateaus_halve_the_rate_and_end_the_training(tmp_path):
    schedule = Schedule(steps=100, batch=4, lr=0.01, warmup=0, cooldown=0, validate_every=1, patience=2, early_stop=5)
    course = train(Line(floor=100.0), nn.Linear(1, 1), schedule, tmp_path)
    assert (course.step, course.best_step, course.waited, course.plateaus) == (6, 1, 5, 2)
    assert [float(r["lr"]) for r in rows(tmp_path)] == [0.01, 0.01, 0.01, 0.005, 0.005, 0.0025]


@pytest.mark.parametrize(
    "value", [{"steps": 0}, {"lr": 0.0}, {"cooldown": 2.0}, {"precision": "float8"}, {"patience": 0}]
)
def test_impossible_schedules_are_refused(value):
    with pytest.raises(InputError):
        Schedule(**value)


def test_a_loss_that_is_no_number_ends_the_training_and_keeps_the_last_checkpoint(tmp_path):
    with pytest.raises(TrainingError, match=r"loss is nan at step 5 .*checkpoint"):
        train(Line(broken=5), nn.Linear(1, 1), QUICK, tmp_path)
    course = train(Line(), nn.Linear(1, 1), QUICK, tmp_path, resume=True)  # from step 4: a good one was kept
    assert course.step == 6
    assert all(torch.isfinite(torch.tensor(float(r["loss"]))) for r in rows(tmp_path))


def test_a_folder_with_a_training_is_not_overwritten(tmp_path):
    train(Line(), nn.Linear(1, 1), QUICK, tmp_path)
    with pytest.raises(InputError, match="go on with it by resume"):
        train(Line(), nn.Linear(1, 1), QUICK, tmp_path)
    with pytest.raises(InputError, match="another training.*lr"):
        train(Line(), nn.Linear(1, 1), replace(QUICK, lr=0.5), tmp_path, resume=True)
    with pytest.raises(InputError, match="another network"):
        train(Line(), nn.Linear(1, 2), QUICK, tmp_path, resume=True)


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    torch.save({"module": Trap()}, tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match="not a safetensors file"):
        train(Line(), nn.Linear(1, 1), QUICK, tmp_path, resume=True)
    assert not (tmp_path / "sprung").exists()
    save_weights(nn.Linear(1, 1), tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match="no checkpoint"):
        train(Line(), nn.Linear(1, 1), QUICK, tmp_path, resume=True)


# --- the lifter -------------------------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("at", range(1, 7))
def test_a_training_killed_anywhere_resumes_bit_for_bit(tmp_path, training, monkeypatch, at):
    schedule = replace(QUICK, validate_every=3)  # files in turn: checkpoint, weights, log, checkpoint, log, checkpoint
    whole = train_lifter(tmp_path / "whole", training, schedule)
    count = 0
    replaced = os.replace

    def dying(a, b):
        nonlocal count
        count += 1
        if count == at:  # of the files that a training writes: weights, log, checkpoint, ...
            raise Killed
        replaced(a, b)

    monkeypatch.setattr(os, "replace", dying)
    with pytest.raises(Killed):
        train_lifter(tmp_path / "killed", training, schedule)
    monkeypatch.setattr(os, "replace", replaced)
    course = train_lifter(tmp_path / "killed", training, schedule, resume=True)
    assert course == whole
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    for name in (CHECKPOINT, WEIGHTS):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_lifter_overfits_ten_sequences_and_its_weights_load(tmp_path, training, monkeypatch):
    monkeypatch.setitem(lifting.SIZES, "tiny", replace(TINY, gsr=replace(TINY.gsr, dropout=0.0, width=16, trunk=64)))
    ten = SequenceGenerator(None, training.generator).batch(0, 10)
    monkeypatch.setattr(SequenceGenerator, "batch", lambda *_: ten)
    schedule = Schedule(steps=250, batch=10, lr=5e-3, warmup=5, validate_every=50)
    course = train_lifter(tmp_path, training, schedule)
    errors = [float(r["validation"]) for r in rows(tmp_path)]
    assert errors[-1] < 0.4 * errors[0]
    lifter = load_lifter(tmp_path / WEIGHTS, keypoint_set="coco17")
    assert float(joint_error(lifter, ten).detach()) == pytest.approx(course.best, rel=1e-5)


def test_first_stage_leaves_the_temporal_module_alone(training):
    task = LifterTask(training, replace(QUICK, steps=8))
    module = lifting.Lifter(lifter_config(training))
    for step, temporal in ((0, False), (1, False), (2, True)):
        module.zero_grad(set_to_none=True)
        loss, terms = task.loss(module, step, 4)
        loss.backward()
        assert ("sequence" in terms) == temporal
        assert (module.tmp.current.weight.grad is not None) == temporal


def test_people_made_ahead_change_nothing(tmp_path, training):
    alone = train_lifter(tmp_path / "alone", training, QUICK)
    assert train_lifter(tmp_path / "ahead", training, QUICK, workers=2).best == alone.best


def test_starting_weights_must_fit(tmp_path, training):
    train_lifter(tmp_path / "a", training, QUICK)
    start = tmp_path / "a" / WEIGHTS
    train_lifter(tmp_path / "b", training, QUICK, start=start)
    other = replace(training, generator=replace(training.generator, keypoint_set="blazepose33"))
    with pytest.raises(InputError, match="keypoint_set coco17 in the file, blazepose33 wanted"):
        train_lifter(tmp_path / "c", other, QUICK, start=start)
    with pytest.raises(InputError, match=r"gsr.width 8 in the file, 64 wanted"):
        train_lifter(tmp_path / "c", replace(training, size="small"), QUICK, start=start)
    with pytest.raises(UnknownNameError, match="small, base, long, paper"):
        train_lifter(tmp_path / "c", replace(training, size="huge"), QUICK)


def test_a_lifter_with_another_temporal_part_lends_its_gsr(training, monkeypatch):
    monkeypatch.setitem(lifting.SIZES, "tiny", replace(TINY, rounds=1, sure=False))
    lent, whole = (lifting.Lifter(lifter_config(training)) for _ in range(2))
    module = lifting.Lifter(replace(TINY, gsr=lent.config.gsr))
    before = {n: p.clone() for n, p in module.named_parameters()}
    lifting.begin(module, lent)
    for name, p in module.named_parameters():
        torch.testing.assert_close(p, lent.get_parameter(name) if name.startswith("gsr.") else before[name])
    lifting.begin(whole, lent)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), lent.parameters(), strict=True))


def test_the_likelihood_is_that_of_normal_errors(training):
    """Of errors e and sigma: log sigma + e^2 / (2 sigma^2), e seen along two, one, two axes."""
    task = LifterTask(training, QUICK)
    data = task.data.batch(0, 4)
    sigma = torch.rand(*data.off.shape, 3) + 0.1
    pose = data.pose + torch.tensor([0.3, -0.1, 0.2])
    found = float(task.doubt(lifting.Lifted(pose, pose, sigma, torch.ones(1)), data))
    e2 = torch.stack([torch.full_like(data.off, 0.05), torch.full_like(data.off, 0.04), data.off**2], -1)
    axes = torch.tensor([2.0, 1.0, 2.0])
    each = axes * (sigma.log() + e2 / (2 * sigma**2))
    each[..., 2][torch.isnan(data.off)] = 0.0
    assert found == pytest.approx(float(each.mean()), rel=1e-5)


def test_people_held_out_are_not_trained_on():
    from test_generator import bank, clip

    people = [f"p{i}" for i in range(30)]
    whole: MotionBank = bank(*(clip(name=p, person=p) for p in people))
    task = LifterTask(LifterTraining(), QUICK, whole)
    assert not {c.person for c in task.data.motion.bank.clips} & {c.person for c in task.held_out.motion.bank.clips}
    assert task.about()["people"] == list(whole.split("train").people)


# --- several processes ------------------------------------------------------------------------------------------------

TWO = """
import sys, torch
from physpose.data.generator import GeneratorSettings, SequenceGenerator
from physpose.networks.weights import save_tensors
from physpose.training.lifter import Lifter, LifterTask, LifterTraining, lifter_config
from physpose.training.parallel import processes
from physpose.training.settings import Schedule

torch.set_num_threads(1)
generator = GeneratorSettings(keypoint_set="coco17", people=2, frames=4)
training = LifterTraining(size="small", single_steps=0.0, generator=generator)
task = LifterTask(training, Schedule(steps=2, batch=4))
torch.manual_seed(0)
module = Lifter(lifter_config(training))
with processes(torch.device("cpu")) as part:
    task.loss(module, 1, 4, part)[0].backward()
    part.average_gradients(module.parameters())
    if part.first:
        save_tensors(sys.argv[1], {n: p.grad for n, p in module.named_parameters()}, {"count": part.count})
"""


def test_two_processes_have_the_gradient_of_one(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    subprocess.run([*run, str(tmp_path / "g2.safetensors")], check=True, env=env, capture_output=True, timeout=120)
    subprocess.run([sys.executable, str(script), str(tmp_path / "g1.safetensors")], check=True, env=env, timeout=120)
    from physpose.networks.weights import read_safetensors

    (one, a), (two, b) = (read_safetensors(tmp_path / f"g{n}.safetensors") for n in (1, 2))
    assert (a["count"], b["count"]) == (1, 2)
    assert max(float(g.abs().max()) for g in one.values()) > 1e-3
    for name, g in one.items():
        torch.testing.assert_close(two[name], g, atol=1e-6, rtol=0)


def test_a_batch_must_divide_among_the_processes():
    assert [Processes(r, 2).part(6) for r in (0, 1)] == [slice(0, 3), slice(3, 6)]
    with pytest.raises(InputError, match="does not divide"):
        Processes(0, 4).part(6)


# --- the command ------------------------------------------------------------------------------------------------------


def test_command_trains_resumes_and_draws(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    words = [
        "train",
        "--out",
        str(tmp_path),
        "--keypoint-set",
        "coco17",
        "--size",
        "small",
        "--steps",
        "1",
        "--batch",
        "8",
    ]
    assert main([*words, "--no-temporal", "--curves", "--workers", "1"]) == 0
    assert "weights.safetensors" in capsys.readouterr().out
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert load_lifter(tmp_path / WEIGHTS).tmp is None
    assert main([*words, "--no-temporal"]) == 2
    assert "resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--motions", "none.npz"],
        ["--keypoint-set", "coco18"],
        ["--steps", "0"],
        ["--size", "x"],
        ["--ages", "80", "3"],
        ["--batch", "4"],
        ["--device", "gpu"],
        ["--device", "cuda:99"],
        ["--workers", "-1"],
        ["--batch", "4", "--workers", "1"],
    ],
)
def test_command_says_in_one_line_what_is_wrong(tmp_path, capsys, words):
    assert main(["train", "--out", str(tmp_path), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("physpose: error: ")
    assert error.count("\n") == 1


def test_curves_need_a_log(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / LOG).write_text("step,loss,validation,unit\n10,0.5,0.2,statures\n20,0.4,0.1,statures\n")
    assert draw_curves(tmp_path / LOG, tmp_path / "c.png").stat().st_size > 5000


def test_the_shipped_lifters_command_in_short_gives_its_figure(tmp_path):
    """Size, precision, takes as shipped, on sampled postures alone: four seeds gave 0.133 statures, spread 0.008."""
    generator = GeneratorSettings(keypoint_set="coco17", takes=4)
    schedule = Schedule(
        steps=60, batch=64, lr=2e-3, warmup=10, validate_every=60, checkpoint_every=60, precision="bfloat16"
    )
    course = train_lifter(tmp_path, LifterTraining(size="base", validation_batches=2, generator=generator), schedule)
    assert course.best == pytest.approx(0.133, abs=0.025)  # three spreads: other processors round otherwise
