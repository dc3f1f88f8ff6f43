"""``poise plot``: how the best grew, on the terminal or (with matplotlib) in a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from poise_lib.cli.growth import Growth


@click.command()
@click.argument("state", type=click.Path(path_type=Path), required=False)
@click.option(
    "--file",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw into this .svg, .png or .pdf; needs matplotlib.",
)
def plot(state: Path | None, target: Path | None) -> None:
    """Plot the best so far against evaluations and against depth in the lineage.

    \b
    poise plot quickstart.poise
    poise plot quickstart.poise --file growth.svg
    """
    from poise_lib.cli.growth import growth
    from poise_lib.cli.lineage import build_forest
    from poise_lib.cli.state import read_state

    snapshot = read_state(state)
    found = growth(snapshot.candidates, build_forest(snapshot.search, snapshot.candidates))
    if target is None:
        click.echo("\n".join(_text(found)))
    else:
        _picture(found, snapshot.search.metadata.name, target)
        click.echo(f"wrote {target}")


def _text(found: Growth) -> list[str]:
    from poise_lib.cli.charts import Series, chart
    from poise_lib.cli.tables import rows
    from poise_lib.cli.text import columns, speaks_unicode

    if not found.scores:
        return ["No candidate was scored yet."]
    best = Series("best so far", tuple((float(x), y) for x, y in found.best), "steps")
    scores = Series("each candidate", tuple((float(x), y) for x, y in found.scores), "dots")
    lines = [click.style("Utility by evaluation", bold=True)]
    lines += chart([scores, best], columns=min(72, columns(72)), x_label="evaluation", ascii_only=not speaks_unicode())
    lines += ["", click.style("New bests", bold=True)]
    table = [
        ["EVALUATION", "UTILITY", "TITLE"],
        *([str(step), f"{value:.1f}", title] for step, title, value in found.records),
    ]
    lines += rows(table, [True, True, False]).splitlines()
    lines += ["", click.style("Best down to each depth", bold=True)]
    table = [["DEPTH", "BEST"], *([str(depth), f"{value:.1f}"] for depth, value in found.by_depth)]
    return lines + rows(table, [True, True]).splitlines()


def _picture(found: Growth, name: str, target: Path) -> None:
    from poise_lib.errors import InvalidInputError

    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InvalidInputError(
            "--file needs matplotlib: pip install matplotlib; without --file the terminal will do"
        ) from None
    if target.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise InvalidInputError(f"{target}: the name must end in .svg, .png or .pdf")
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    left.scatter(
        *zip(*found.scores, strict=True) if found.scores else ((), ()), s=14, color="#8c959f", label="each candidate"
    )
    left.step(
        *zip(*found.best, strict=True) if found.best else ((), ()), where="post", color="#1a7f37", label="best so far"
    )
    left.set(xlabel="evaluation", ylabel="utility", title=f"{name}: best by evaluation")
    left.legend(frameon=False)
    right.step(
        *zip(*found.by_depth, strict=True) if found.by_depth else ((), ()), where="post", marker="o", color="#1a7f37"
    )
    right.set(xlabel="depth in the lineage", title="best by depth")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(target)
    except OSError as error:
        raise InvalidInputError(f"{target}: cannot be written: {error.strerror}") from None
