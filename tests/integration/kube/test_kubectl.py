"""What people see who use kubectl: explain, get, apply and diff, short names."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.integration.kube.documents import MODELS, PLURALS, minimal, path, schema
from tests.integration.kube.test_crds import with_status
from tests.kube.client import Client, Document
from tests.kube.cluster import ROOT, ControlPlane, KubectlError

EXAMPLES: Final = sorted((ROOT / "examples").glob("*.yaml"))
SHORT: Final = {"Candidate": "pcand", "Evaluation": "peval", "Search": "psearch"}


def _words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("server_side", [False, True], ids=["client-side", "server-side"])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_applied_example_has_no_diff(
    control_plane: ControlPlane, namespace: str, example: Path, server_side: bool
) -> None:
    how = ("-n", namespace, "-f", str(example), *(("--server-side",) if server_side else ()))
    control_plane.kubectl("apply", *how)
    diff = control_plane.kubectl_result("diff", *how)
    assert (diff.returncode, diff.stdout, diff.stderr) == (0, "", "")
    if not server_side:
        assert control_plane.kubectl("apply", *how).strip().endswith(" unchanged")


def test_kubectl_refuses_a_field_that_is_misspelt(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    text = (ROOT / "examples" / "quickstart.yaml").read_text(encoding="utf-8")
    manifest = tmp_path / "misspelt.yaml"
    manifest.write_text(text.replace("  directive:", "  directve:"), encoding="utf-8")
    with pytest.raises(KubectlError, match=r'unknown field "spec\.directve"'):
        control_plane.kubectl("apply", "-n", namespace, "-f", str(manifest))


def test_explain_shows_what_the_fields_are_for(control_plane: ControlPlane, crds: dict[str, Document]) -> None:
    shown = _words(control_plane.kubectl("explain", "search.spec.evaluation"))
    assert "Training and scoring." in shown
    evaluation = schema(crds["Search"])["properties"]["spec"]["properties"]["evaluation"]
    for name, field in evaluation["properties"].items():
        assert name in shown
        assert _words(field["description"]) in shown, name


@pytest.mark.parametrize("kind", sorted(MODELS))
@pytest.mark.parametrize("part", ["spec", "status"])
def test_explain_says_something_of_every_field(control_plane: ControlPlane, kind: str, part: str) -> None:
    shown = control_plane.kubectl("explain", f"{PLURALS[kind]}.{part}")
    assert "<no description>" not in shown
    assert "DESCRIPTION:" in shown


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_columns_show_what_is_there(
    control_plane: ControlPlane, admin: Client, crds: dict[str, Document], namespace: str, kind: str
) -> None:
    columns = crds[kind]["spec"]["versions"][0]["additionalPrinterColumns"]
    with_status(admin, crds, kind, namespace)
    narrow, wide = (
        control_plane.kubectl("get", PLURALS[kind], "-n", namespace, *option).splitlines()
        for option in ((), ("-o", "wide"))
    )
    everywhere = [column["name"].upper() for column in columns if not column.get("priority")]
    assert narrow[0].split() == ["NAME", *everywhere]
    assert set(wide[0].split()) == {"NAME", *(column["name"].upper() for column in columns)}
    for heading, row in (narrow, wide):
        starts = [heading.index(f" {name} ", 0) + 1 for name in heading.split()[1:-1]]
        cells = [row[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
        assert all(cells), f"an empty column:\n{heading}\n{row}"
        assert "<none>" not in row


def test_columns_of_a_search(control_plane: ControlPlane, admin: Client, namespace: str) -> None:
    admin.create(path("Search", namespace), minimal("Search"))
    best = {"candidate": "one-007-2", "utility": 61.5, "baselineUtility": 58.25}
    admin.patch(
        path("Search", namespace, "one", "status"), {"status": {"phase": "Searching", "round": 7, "best": best}}
    )
    heading, row = control_plane.kubectl("get", "searches", "-n", namespace).splitlines()
    for name, value in (("PHASE", "Searching"), ("ROUND", "7"), ("BEST", "one-007-2")):
        assert row[heading.index(f" {name} ") + 1 :].split()[0] == value, (heading, row)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_short_names(control_plane: ControlPlane, admin: Client, namespace: str, kind: str) -> None:
    admin.create(path(kind, namespace), minimal(kind))
    shown = control_plane.kubectl("get", SHORT[kind], "-n", namespace, "-o", "name")
    assert shown.split() == [f"{kind.lower()}.poise.dev/one"]


def test_the_category_lists_all_kinds(control_plane: ControlPlane, admin: Client, namespace: str) -> None:
    for kind in MODELS:
        admin.create(path(kind, namespace), minimal(kind))
    shown = control_plane.kubectl("get", "poise", "-n", namespace, "-o", "name")
    assert sorted(shown.split()) == sorted(f"{kind.lower()}.poise.dev/one" for kind in MODELS)
