"""The task protocol: exactly one whole frame of this attempt counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from poise_lib.tasks.protocol import FrameReader, TaskKind, TaskRequest, TaskResult, frame, progress_line

ATTEMPT = "a" * 32
RESULT = {"output": {"text": "Größe\nline two"}, "artifacts": []}


def read(text: str, attempt: str = ATTEMPT) -> FrameReader:
    reader = FrameReader(attempt)
    for line in text.split("\n")[:-1]:
        reader.feed(line)
    return reader


def test_a_frame_is_read_back_whole() -> None:
    accepted = read(frame(RESULT, ATTEMPT)).accepted
    assert accepted == TaskResult(output=RESULT["output"])  # type: ignore[arg-type]


def test_noise_and_progress_around_a_frame_do_no_harm() -> None:
    text = "hello\n" + progress_line({"step": 3}) + "\npoise-progress not json\n" + frame(RESULT, ATTEMPT) + "bye\n"
    reader = read(text)
    assert reader.progress == {"step": 3}
    assert reader.accepted is not None


@given(st.integers(0, 200))
def test_a_cut_log_has_no_result(length: int) -> None:
    whole = frame(RESULT, ATTEMPT)
    cut = whole[: min(length, len(whole) - 1)]
    assert read(cut + "\n" if cut and not cut.endswith("\n") and length < len(whole) - 1 else cut).accepted is None


@given(st.integers(0, 10_000), st.characters(blacklist_categories=("Cs",), blacklist_characters="\n"))
def test_a_changed_character_is_noticed(position: int, character: str) -> None:
    whole = frame(RESULT, ATTEMPT)
    index = position % (len(whole) - 1)
    changed = whole[:index] + character + whole[index + 1 :]
    accepted = read(changed).accepted
    assert accepted is None or changed == whole


def test_a_frame_of_another_attempt_is_ignored() -> None:
    forged = frame({"output": {"metrics": {"overall": 100}}}, "b" * 32)
    assert read(forged).accepted is None
    accepted = read(forged + frame(RESULT, ATTEMPT)).accepted
    assert accepted is not None
    assert accepted.output == RESULT["output"]


def test_two_frames_of_one_attempt_are_refused() -> None:
    reader = read(frame(RESULT, ATTEMPT) + frame({"output": {}}, ATTEMPT))
    assert reader.accepted is None
    assert reader.problem == "the task printed two results"


def test_the_digest_of_a_request_depends_on_kind_and_input_only() -> None:
    one = TaskRequest(kind=TaskKind.SCORE, name="a", input={"x": 1, "y": 2})
    assert one.digest == TaskRequest(kind=TaskKind.SCORE, name="b", input={"y": 2, "x": 1}).digest
    assert one.digest != TaskRequest(kind=TaskKind.TRAIN, name="a", input={"x": 1, "y": 2}).digest
    assert one.digest != TaskRequest(kind=TaskKind.SCORE, name="a", input={"x": 1, "y": 3}).digest
