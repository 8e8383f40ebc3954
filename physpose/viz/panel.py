"""The viewer's controls: play, pause, speed and time; what is shown; a plot with a mark that moves along; numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from physpose.types import Array
from physpose.viz.actor import Actor
from physpose.viz.playhead import Playhead

SPEEDS = ("0.1", "0.25", "0.5", "1", "2")
BESIDE, OVERLAID, CENTRED = "side by side", "overlaid", "overlaid, centre on centre"
LAYERS = {
    "body": True, "contact forces": True, "centre of mass": True, "momentum": False, "support polygon": True,
    "sigma": False, "camera": True,
}  # fmt: skip
COLOURS = ("#2f6fe4", "#3f9d70", "#b0579e", "#b08a1e", "#5c6fd0")  # of the results' curves


@dataclass
class _Plot:
    handle: Any
    time: Array  # (N,) [s], of all results
    curves: list[Array]
    shown: int = -1


class Panel:
    """Play, pause, speed and time; what is shown; a plot with a mark that moves along; numbers."""

    def __init__(self, server: Any, actors: Sequence[Actor], clock: Playhead):
        self.gui, self.actors, self.clock = server.gui, actors, clock
        self._player()
        with self.gui.add_folder("show"):
            self.layers = {name: self.gui.add_checkbox(name, on) for name, on in LAYERS.items() if self._has(name)}
            self.layers |= {name: _Off() for name in LAYERS if name not in self.layers}
            options = (BESIDE, OVERLAID, CENTRED)
            self.placement = self.gui.add_dropdown("results", options, visible=len(actors) > 1)
        with self.gui.add_folder("plot"):
            names = list(dict.fromkeys(n for a in actors for n in a.skeleton.coordinate_names))
            first = "knee_angle_r" if "knee_angle_r" in names else next(iter(names), "")
            self.coordinate = self.gui.add_dropdown("coordinate", names or [""], initial_value=first)
            self.quantity = self.gui.add_dropdown("quantity", ("angle", "torque"))
            self.plot: _Plot | None = None
            self.plotted = ("", "")
        self.numbers = self.gui.add_markdown("")

    def _player(self) -> None:
        clock, gui = self.clock, self.gui
        self.play = gui.add_button("pause")
        end = max(clock.end, clock.start + 1e-3)  # a slider has two ends
        self.slider = gui.add_slider("time [s]", round(clock.start, 3), round(end, 3), 0.001, round(clock.start, 3))
        speed = gui.add_dropdown("speed", SPEEDS, initial_value="1")
        self.play.on_click(lambda _: clock.toggle())
        speed.on_update(lambda _: clock.set_speed(float(speed.value)))

        @self.slider.on_update
        def _(event: Any) -> None:
            if event.client is not None:  # moved by a hand, not by the clock
                clock.seek(float(self.slider.value))

    def _has(self, layer: str) -> bool:
        if layer == "sigma":
            return any(a.saved.sigma is not None for a in self.actors)
        return layer != "camera" or any(a.saved.camera is not None for a in self.actors)

    def show(self, at: float, frames: tuple[int, ...]) -> None:
        """The clock's time [s] on slider, plot and numbers."""
        label = "pause" if self.clock.playing else "play"
        if self.clock.playing or self.play.label != label:  # a paused one is moved by hand only
            self.slider.value = round(at, 3)
        if self.play.label != label:
            self.play.label = label
        wanted = (self.coordinate.value, self.quantity.value)
        if self.plotted != wanted:
            self.plotted = wanted
            self._new_plot()
        self._mark(at)
        text = "  \n".join(_numbers(a, i) for a, i in zip(self.actors, frames, strict=True))
        if self.numbers.content != text:
            self.numbers.content = text

    def _new_plot(self) -> None:
        if self.plot is not None:
            self.plot.handle.remove()
        grid = np.unique(np.concatenate([a.motion.time for a in self.actors]))
        found = [a.series(*self.plotted) for a in self.actors]
        curves = [_on(grid, a.motion.time, y) for a, (y, _) in zip(self.actors, found, strict=True)]
        unit = next((u for _, u in found if u), "")
        series: list[dict[str, Any]] = [{"label": "time [s]"}]
        series += [
            {"label": a.name, "stroke": COLOURS[k % len(COLOURS)], "width": 2} for k, a in enumerate(self.actors)
        ]
        series.append({"label": "now", "stroke": "#17202b", "points": {"show": True, "size": 9}})
        scales: dict[str, Any] = {"x": {"time": False}, "y": {"auto": False, "range": _range(curves)}}
        handle = self.gui.add_uplot(
            (grid, *curves, np.full(len(grid), np.nan)), tuple(series), title=f"{self.plotted[0]} [{unit}]",
            scales=scales, aspect=1.3, order=self.quantity.order + 0.1,
        )  # fmt: skip
        self.plot = _Plot(handle, grid, curves)

    def _mark(self, at: float) -> None:
        plot = self.plot
        if plot is None:
            return
        i = int(np.abs(plot.time - at).argmin())
        if i != plot.shown:
            now = np.full(len(plot.time), np.nan)
            now[i] = plot.curves[0][i]
            plot.handle.data, plot.shown = (plot.time, *plot.curves, now), i


class _Off:
    """A layer that no result has."""

    value = False


def _range(curves: Sequence[Array]) -> tuple[float, float]:
    """Of all curves, with some room; uPlot finds none itself where numbers are missing."""
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    room = 0.08 * (high - low) or 1.0
    return low - room, high + room


def _on(grid: Array, time: Array, y: Array) -> Array:
    """y(time) at the times of ``grid``; NaN outside."""
    return np.interp(grid, time, y, left=np.nan, right=np.nan)


def _numbers(actor: Actor, frame: int) -> str:
    m, force = actor.motion, actor.motion.contacts.force[frame]
    weights = np.nansum(force[:, 2]) / (9.81 * actor.skeleton.mass)
    return (
        f"**{actor.name}** frame {frame}, {m.time[frame]:.3f} s: vertical contact force {weights:.2f} body weights, "
        f"momentum {np.linalg.norm(m.momentum[frame, :3]):.1f} kg m/s, {np.linalg.norm(m.momentum[frame, 3:]):.2f} "
        f"kg m\u00b2/s, kinetic energy {m.energy.kinetic[frame]:.0f} J"
    )
