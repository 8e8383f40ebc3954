"""What messages say of Python's arguments is said of options."""

import pytest

from physpose.cli_words import in_options

NAMES = ("height", "mass", "degrees", "camera", "up", "image_size", "marker_set", "scale", "age")


@pytest.mark.parametrize(
    ("python", "options"),
    [
        ("give metres: height=1.75", "give metres: --height 1.75"),
        ("give degrees=True, or degrees=False if right", "give --degrees, or --no-degrees if right"),
        ("needs age= [years], or height= [m]", "needs --age [years], or --height [m]"),
        ("camera='Calib.toml'", "--camera Calib.toml"),
        ("camera='my calib.toml'", "--camera 'my calib.toml'"),
        ("points up: give up='-x'", "points up: give --up=-x"),
        ("image_size=(0, 480); expected", "--image-size 0 480; expected"),
        ("give marker_set={label: point}", "give --marker LABEL=POINT"),
        ("bodies= is of forces; holds=", "--body is of forces; --hold"),
        ("plates=False reads the file", "leaving out --forces reads the file"),
        ("use physpose.fit on it", "use physpose fit on it"),
        ("betas= is no option", "betas= is no option"),  # not among the names
        ("no such file: age=3.mp4", "no such file: age=3.mp4"),
        ("/data/height=2/a.trc: cut off", "/data/height=2/a.trc: cut off"),
        ("a column like body_mass=1", "a column like body_mass=1"),
    ],
)
def test_arguments_become_options(python, options):
    assert in_options(python, NAMES) == options
