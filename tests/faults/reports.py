"""What `make faults` prints at its end: a line of figures for each fault."""

from __future__ import annotations

from typing import Final

LINES: Final[list[str]] = []


def report(fault: str, **figures: object) -> None:
    """Figures by their names, with `_` for blanks; floats are seconds, and a dictionary has numbers of things."""
    LINES.append(f"{fault}: " + "; ".join(f"{name.replace('_', ' ')} {_text(it)}" for name, it in figures.items()))


def _text(figure: object) -> str:
    if isinstance(figure, float):
        return f"{figure:.2f} s"
    if isinstance(figure, dict):
        return ", ".join(f"{count} × {name}" for name, count in figure.items()) or "none"
    return str(figure)
