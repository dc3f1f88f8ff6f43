"""Every algorithm of the zoo passes verification, mechanisms of rare regimes included, and no two behave alike."""

import pytest

from poise_lib.sandbox import SandboxResult
from poise_lib.verification import Status, verify


@pytest.fixture(scope="module")
def reports(zoo_sources, tmp_path_factory):
    """Reports by name, with the child in this process (these sources are ours); each knows those before it."""
    from poise_lib.verification import child

    def run_here(entry, workdir, limits, on_line=None):
        child.main(workdir)
        return SandboxResult(True, "", 0, None, "", 0.0, 0.0, 0, ())

    folder, found, digests = tmp_path_factory.mktemp("verify"), {}, {}
    for name, source in zoo_sources.items():
        found[name] = verify(source, workdir=folder, training_probe=False, parent_digests=dict(digests), run=run_here)
        digests[name] = found[name].behaviour_digest
    return found


def test_the_zoo_passes_verification(reports, zoo_name):
    report = reports[zoo_name]
    assert report.passed, report.findings
    assert report.findings == ()
    skipped = {check.name for check in report.checks if check.status is Status.SKIPPED}
    assert skipped <= {"schedule", "training-probe"}


def test_no_two_algorithms_of_the_zoo_behave_alike(reports):
    assert len({report.behaviour_digest for report in reports.values()}) == len(reports)
