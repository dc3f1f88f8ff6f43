"""``poise verify``: a candidate module against the contract."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from poise_lib.verification import VerificationReport

_COLOURS = {"passed": "green", "failed": "red", "warned": "yellow", "skipped": None}


@click.command()
@click.argument("candidate")
@click.option("--probe/--no-probe", default=True, show_default=True, help="Finish with a short training run, or not.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def verify(candidate: str, probe: bool, output: str) -> None:
    """Check CANDIDATE, a Python file or the name of a published algorithm: exit code 0 when it may be trained, else 4.

    The source is read, never imported here; what needs running runs in a sandbox.

    \b
    poise verify mine.py
    poise verify mine.py -o json | jq '.checks[] | select(.status == "failed")'
    """
    import tempfile
    from pathlib import Path

    from poise_lib.cli.candidate_file import choose
    from poise_lib.cli.checks import require_engine
    from poise_lib.cli.text import echo_document
    from poise_lib.errors import CandidateError
    from poise_lib.plain import clean, json_text

    require_engine()
    from poise_lib.verification import Status
    from poise_lib.verification import verify as judge

    chosen = choose(candidate)
    with tempfile.TemporaryDirectory(prefix="poise-") as folder:
        report = judge(chosen.source, workdir=Path(folder), training_probe=probe)
    if output == "json":
        echo_document(json_text(report.to_dict()))
    else:
        click.echo("\n".join(report_lines(report, chosen.name)))
    if not report.passed:
        failed = ", ".join(check.name for check in report.checks if check.status is Status.FAILED)
        raise CandidateError(f"{clean(candidate)} may not be trained: {failed}")


def report_lines(report: VerificationReport, name: str) -> list[str]:
    """Every check with what was seen, and how to repair what failed."""
    from poise_lib.cli.text import pad
    from poise_lib.plain import clean

    left = max(len(check.name) for check in report.checks)
    lines = []
    for check in report.checks:
        status = click.style(
            pad(check.status.value, 7), fg=_COLOURS[check.status.value], dim=check.status.value == "skipped"
        )
        evidence = textwrap.wrap(clean(check.evidence), 90) or [""]
        lines.append(f"{status}  {pad(check.name, left)}  {evidence[0]}".rstrip())
        lines += [" " * (left + 11) + line for line in evidence[1:]]
        if check.hint and check.status.value in ("failed", "warned"):
            lines += [
                " " * (left + 11) + click.style(line, bold=True)
                for line in textwrap.wrap(f"hint: {clean(check.hint)}", 90)
            ]
    verdict = (
        click.style("may be trained", fg="green", bold=True)
        if report.passed
        else click.style("may not be trained", fg="red", bold=True)
    )
    lines += ["", f"{clean(name)} {verdict}: {len(report.checks)} checks in {report.timing.seconds:.1f} s"]
    lines.append(f"isolation in force: {', '.join(report.isolation) or 'none was needed, nothing ran'}")
    return lines
