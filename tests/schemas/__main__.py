"""`python -m tests.schemas DIRECTORY`: every JSON schema of a directory, answered by the demo engine.

For instance `tests/draft2020-12` and `tests/draft7` of the JSON-Schema-Test-Suite. Prints each answer that does not
match its schema, why schemas were rejected, and counts. Exit code 1 if an answer does not match what a grammar
enforces.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from tests.schemas.answers import answers, cases_in

_SHOWN = 160


def main(directory: Path) -> int:
    """Answer all, and print. Returns: the exit code."""
    counts: Counter[tuple[str, str]] = Counter()
    reasons: Counter[str] = Counter()
    for answered in answers(cases_in(directory)):
        by = "by the grammar alone" if answered.enforced else "in part by a check"
        counts[answered.outcome, by] += 1
        if answered.outcome == "invalid":
            sys.stdout.write(f"{answered.case.name}: {by}: {answered.case.schema!r:.{_SHOWN}}\n")
            sys.stdout.write(f"    {answered.text!r:.{_SHOWN}}\n")
        if answered.outcome == "rejected":
            reasons[answered.text[:_SHOWN]] += 1
    for reason, count in reasons.most_common():
        sys.stdout.write(f"rejected {count:4} {reason}\n")
    for (outcome, by), count in sorted(counts.items()):
        sys.stdout.write(f"{outcome:10} {by:22} {count:5}\n")
    return 1 if counts["invalid", "by the grammar alone"] else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
