"""What a finished search with a language model has spent for each candidate that it accepted, repairs among it.

python -m benchmarks.llm_spent STATE

Calls and tokens are the ledger's.  Repairs are read from the transcripts: answers that were sent back because they did not fit their
schema, questions that were put by role, and code that was written again after it was refused.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from poise_lib.artifacts import ArtifactStore
from poise_lib.cli.money import accepted, long_line
from poise_lib.cli.state import read_state
from poise_lib.errors import InvalidInputError
from poise_lib.llm.recording import transcripts_in


def main(state: Path) -> None:
    """Print the tables."""
    snapshot = read_state(state)
    ledger = snapshot.search.status.ledger
    if ledger is None:
        raise InvalidInputError(f"{state}: this search has asked no model")
    count = accepted(snapshot.candidates)
    proposed = [item for item in snapshot.candidates if item.spec.parents]
    questions: Counter[str] = Counter()
    again: Counter[str] = Counter()
    broken = 0
    for transcript in transcripts_in(ArtifactStore(state / "artifacts")):
        exchanges = transcript["exchanges"]
        form = exchanges[0]["request"].get("response_format") or {}
        name = (form.get("json_schema") or {}).get("name", "in words")
        questions[name] += 1
        again[name] += sum(bool(one.get("problem")) and not one.get("failure") for one in exchanges)
        broken += sum(bool(one.get("failure")) for one in exchanges)
    revisions = sum(len(item.status.revisions) for item in proposed)
    print(f"{long_line(ledger)}; {len(proposed)} candidates proposed, {count} accepted into the archive")
    print()
    print("| | in all | for each accepted candidate |")
    print("| --- | ---: | ---: |")
    rows = {
        "calls": ledger.calls,
        "tokens in": ledger.prompt_tokens,
        "tokens out": ledger.completion_tokens,
        "answers sent back for their schema": sum(again.values()),
        "code written again after verification": revisions,
        "calls that failed": broken,
    }
    for label, value in rows.items():
        print(f"| {label} | {value:,} | {value / max(1, count):,.1f} |")
    print()
    print("| answer | questions | sent back |")
    print("| --- | ---: | ---: |")
    for name in sorted(questions):
        print(f"| {name} | {questions[name]} | {again[name]} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
