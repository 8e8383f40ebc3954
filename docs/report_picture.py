"""The picture of the first page: the demo clip's report as a headless Chromium shows it.

physpose demo --out demo && python docs/report_picture.py demo/report.html
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from viewer_picture import tab_of

SEEK = "(s => { s.value = %g; s.dispatchEvent(new Event('input')); })(document.getElementById('slider'))"
WITHOUT_CONTROLS = "document.querySelector('.dock').remove()"


def main() -> None:
    """Open, go to the moment, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--at", type=float, default=2.2, help="[s] after the first frame")
    parser.add_argument("--wait", type=float, default=5.0, help="[s] for the page to be complete, before and after")
    args = parser.parse_args()
    with tab_of(args.report.resolve().as_uri(), (1200, 1260)) as tab:
        time.sleep(args.wait)
        tab.run(SEEK % args.at)
        tab.run(WITHOUT_CONTROLS)
        time.sleep(args.wait)
        (Path(__file__).parent / "images/report.jpg").write_bytes(tab.jpeg())


if __name__ == "__main__":
    main()
