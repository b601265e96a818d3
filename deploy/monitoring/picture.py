"""`python -m deploy.monitoring.picture OUT.png [--prometheus URL] [--minutes N]`: the dashboard, drawn with matplotlib.

The same panels and queries as Grafana's, from a Prometheus' query_range: for pages where no Grafana runs. Panels
without data are left out.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from deploy.monitoring.table import RATE, ROWS, Panel

_POINTS: Final = 120
_COLUMNS: Final = 3
_COLOURS: Final = 48
_TIMEOUT_S: Final = 30.0
_UNITS: Final = {"s": "s", "reqps": "per s", "percentunit": "share", "watt": "W", "joule": "J", "short": ""}

Series = tuple[str, Sequence[float], Sequence[float]]
"""Legend, minutes, values."""


def series_of(url: str, panel: Panel, begin_s: float, end_s: float, rate: str) -> list[Series]:
    found: list[Series] = []
    for legend, query in panel.queries:
        for result in _query_range(url, query.replace(RATE, rate), begin_s, end_s):
            points = [(float(at), float(value)) for at, value in result["values"]]
            minutes = [(at - begin_s) / 60 for at, _ in points]
            found.append((_filled(legend, result["metric"]), minutes, [value for _, value in points]))
    return found


def _query_range(url: str, query: str, begin_s: float, end_s: float) -> list[dict[str, Any]]:
    step_s = max(1.0, (end_s - begin_s) / _POINTS)
    words = urllib.parse.urlencode({"query": query, "start": begin_s, "end": end_s, "step": step_s})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{words}", timeout=_TIMEOUT_S) as response:  # noqa: S310
        result: list[dict[str, Any]] = json.load(response)["data"]["result"]
        return result


def _filled(legend: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend)


def draw(panels: Sequence[tuple[Panel, Sequence[Series]]], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    mpl.rcParams.update({"font.size": 7, "axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False})
    lines = -(-len(panels) // _COLUMNS)
    figure, axes = plt.subplots(lines, _COLUMNS, figsize=(12, 2.1 * lines), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (panel, found) in zip(axes.flat, panels, strict=False):
        axis.set_title(panel.title, fontsize=8, loc="left", fontweight="bold")
        axis.set_ylabel(_UNITS[panel.unit])
        for legend, minutes, values in found:
            axis.plot(minutes, values, linewidth=1, label=legend)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=5.5, loc="upper left", framealpha=0.6, ncols=2)
    figure.supxlabel("minutes", fontsize=7)
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=80)
    Image.open(drawn).convert("RGB").quantize(_COLOURS).save(file, optimize=True)  # a quarter of the bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", default="1m", help="window of rates")
    options = parser.parse_args()
    end_s = time.time()
    begin_s = end_s - 60 * options.minutes
    panels = [panel for row in ROWS for panel in row.panels]
    found = [(panel, series_of(options.prometheus, panel, begin_s, end_s, options.rate)) for panel in panels]
    draw([(panel, series) for panel, series in found if series], options.file)


if __name__ == "__main__":
    main()
