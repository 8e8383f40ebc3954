"""How long, how fast and with what care a network is trained."""

from __future__ import annotations

from dataclasses import dataclass

from physpose.errors import InputError

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The optimiser's course. The learning rate warms up, is halved on plateaus, and cools down to zero at the end."""

    steps: int = 2000  # of the optimiser, all stages together
    batch: int = 96  # sequences or images a step, over all processes
    lr: float = 2e-3  # of AdamW
    weight_decay: float = 0.01
    warmup: int = 200  # [steps] over which the learning rate rises from zero
    cooldown: float = 0.3  # last part of the steps, over which it falls to zero
    clip: float = 1.0  # largest norm of a gradient
    validate_every: int = 250  # [steps]
    patience: int = 5  # validations without a better one, after which the learning rate is halved
    early_stop: int = 20  # validations without a better one, after which training ends
    checkpoint_every: int = 250  # [steps]
    precision: str = "float32"  # "bfloat16": forward passes in mixed precision, for GPUs
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validate_every", "patience", "early_stop", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} of {getattr(self, name)}; at least 1 is needed")
        if not (self.lr > 0 and self.clip > 0 and 0 <= self.cooldown <= 1 and self.warmup >= 0):
            raise InputError(f"no training has {self}: lr, clip > 0; cooldown in 0..1; warmup >= 0")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision!r}; possible: {', '.join(PRECISIONS)}")

    def rate(self, step: int, plateaus: int) -> float:
        """Learning rate of a step (from 0) after so many plateaus."""
        warm = min(1.0, (step + 1) / (self.warmup + 1))
        left = (self.steps - step) / max(self.cooldown * self.steps, 1.0)
        return self.lr * warm * 0.5**plateaus * min(1.0, left)
