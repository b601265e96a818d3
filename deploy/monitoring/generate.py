"""`python -m deploy.monitoring.generate`: the dashboard, the rules and the runbook, from `table`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.monitoring.table import ALERTS, RECORDINGS, ROWS, Alert, Panel

HERE: Final = Path(__file__).parent
DATASOURCE: Final = {"type": "prometheus", "uid": "conch-prometheus"}
_RUNBOOK: Final = "docs/runbook.md"
_WIDTH, _HEIGHT, _PER_LINE = 8, 8, 3


def rules() -> str:
    recorded = [{"record": one.name, "expr": one.query} for one in RECORDINGS]
    groups = [
        {"name": "conch-recorded", "rules": recorded},
        {"name": "conch-alerts", "rules": [_alert(one) for one in ALERTS]},
    ]
    return _HEAD + str(yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000))


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.query,
        "for": alert.hold,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.meaning, "runbook": f"{_RUNBOOK}#{alert.name.lower()}"},
    }


def dashboard() -> str:
    panels: list[dict[str, Any]] = []
    y = 0
    for row in ROWS:
        panels.append({"type": "row", "title": row.title, "collapsed": False, "panels": [], **_place(0, y, 24, 1)})
        y += 1
        for number, panel in enumerate(row.panels):
            x, line = number % _PER_LINE, number // _PER_LINE
            panels.append({**_panel(panel), **_place(x * _WIDTH, y + line * _HEIGHT, _WIDTH, _HEIGHT)})
        y += -(-len(row.panels) // _PER_LINE) * _HEIGHT
    for number, one in enumerate(panels, start=1):
        one["id"] = number
    board = {
        "uid": "conch",
        "title": "Conch",
        "tags": ["conch"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": []},
        "panels": panels,
    }
    return json.dumps(board, indent=1) + "\n"


def _place(x: int, y: int, width: int, height: int) -> dict[str, Any]:
    return {"gridPos": {"x": x, "y": y, "w": width, "h": height}}


def _panel(panel: Panel) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + number), "datasource": DATASOURCE, "expr": query, "legendFormat": legend}
        for number, (legend, query) in enumerate(panel.queries)
    ]
    return {
        "type": "timeseries",
        "title": panel.title,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def runbook() -> str:
    return _RUNBOOK_HEAD + "\n".join(map(_section, ALERTS))


def _section(alert: Alert) -> str:
    causes = "\n".join(f"| {cause} | `{command}` |" for cause, command in alert.causes)
    return f"""## {alert.name}

{alert.meaning} Severity: {alert.severity}, after {alert.hold}.

```promql
{alert.query}
```

| cause | command |
|---|---|
{causes}
"""


_HEAD: Final = "# Written by `python -m deploy.monitoring.generate`.\n"
_RUNBOOK_HEAD: Final = """# Runbook

What each alert of [deploy/monitoring/rules.yml](../deploy/monitoring/rules.yml) means, what causes it, and the command
that shows which cause it is. Written by `python -m deploy.monitoring.generate` from `deploy/monitoring/table.py`.

The alerts on errors and first tokens compare with objectives: 99.5 % of requests end without an error of the server,
99 % of streams begin within 2.5 s. They fire where what is allowed in 30 days is being used up too fast, in a long and
in a short window at once.

"""
FILES: Final = {
    HERE / "rules.yml": rules,
    HERE / "grafana" / "dashboards" / "conch.json": dashboard,
    HERE.parents[1] / "docs" / "runbook.md": runbook,
}


def main() -> None:
    for path, content in FILES.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content(), encoding="utf-8")


if __name__ == "__main__":
    main()
