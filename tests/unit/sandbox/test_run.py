"""What a well-behaved or merely failing child looks like from outside."""

import os

import pytest

from poise_lib.errors import SandboxError
from poise_lib.sandbox import Limits, model, read_output, run
from poise_lib.sandbox.runner import MAX_LINE_BYTES, STDERR_TAIL_BYTES


def test_returning_is_ok_and_lines_arrive_without_control_characters(confined, workdir):
    result, lines = confined("returns")
    assert (result.ok, result.reason, result.exit_code, result.signal) == (True, "", 0, None)
    assert lines == ["first line", "second ?[31mline"]
    assert read_output(workdir, "out.txt", 100) == b"written"
    assert result.peak_memory_bytes > 1 << 20
    assert result.wall_seconds > result.cpu_seconds >= 0


def test_layers_are_known_ones_in_order_and_the_unconditional_ones_hold(confined):
    result, _ = confined("returns")
    assert list(result.in_force) == [layer for layer in model.LAYERS if layer in result.in_force]
    always = {
        model.EMPTY_ENVIRONMENT,
        model.OWN_SESSION,
        model.PARENT_DEATH_SIGNAL,
        model.NO_NEW_PRIVILEGES,
        model.NO_CAPABILITIES,
        model.RESOURCE_LIMITS,
    }
    assert always <= set(result.in_force)


def test_nothing_of_the_parent_is_visible(confined, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    result, (line,) = confined("reports_itself")
    user, pid, environment, in_workdir, entries = line.split("|")
    assert "SECRET" not in environment
    assert "PATH" not in environment
    assert (in_workdir, entries) == ("True", "0")
    if model.PID_NAMESPACE in result.in_force:
        assert pid == "1"
    if model.UNPRIVILEGED_USER in result.in_force:
        assert int(user) != os.getuid() == 0


def test_an_exception_is_a_reason_without_terminal_escapes(confined):
    result, _ = confined("raises")
    assert not result.ok
    assert result.reason == "The code raised ValueError: no such idea ?]0;title?."
    assert "\x1b" not in result.stderr_tail
    assert "sandbox_entries.py" in result.stderr_tail


def test_a_crash_names_the_signal(confined):
    result, _ = confined("crashes")
    assert result.exit_code is None
    assert "SIGSEGV" in result.reason


def test_leaving_early_with_success_is_ok_so_that_callers_must_look_at_outputs(confined, workdir):
    result, _ = confined("exits_quietly")
    assert result.ok
    with pytest.raises(SandboxError, match=r"out\.txt"):
        read_output(workdir, "out.txt", 100)


def test_long_lines_are_cut_and_the_next_line_is_whole(confined):
    _, lines = confined("writes_a_long_line")
    assert [len(line) for line in lines] == [MAX_LINE_BYTES, len("end")]


def test_stdout_is_bounded(confined):
    result, _ = confined("floods_stdout")
    assert result.reason == "The code wrote more than 16 MiB to its standard output and was stopped."


def test_stderr_keeps_its_tail(confined):
    result, _ = confined("floods_stderr")
    assert len(result.stderr_tail) <= STDERR_TAIL_BYTES
    assert result.reason == "The code raised RuntimeError: after the flood."


def test_what_on_line_raises_ends_the_child_and_comes_out(workdir, monkeypatch):
    monkeypatch.syspath_prepend(os.path.join(os.path.dirname(__file__), "entries"))

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("sandbox_entries:holds_a_lock", workdir, Limits(30, 60, 1 << 28, 1 << 20), stop)


def test_unknown_entries_are_the_callers_fault(workdir):
    with pytest.raises(SandboxError, match="no_such_module"):
        run("no_such_module:main", workdir, Limits(1, 1, 1 << 28, 1 << 20))
    with pytest.raises(SandboxError, match="not a folder"):
        run("poise_lib.errors:main", workdir / "absent", Limits(1, 1, 1 << 28, 1 << 20))


def test_an_entry_that_cannot_be_imported_is_a_broken_set_up(confined):
    result, _ = confined("no_such_function")
    assert result.reason.startswith("The sandbox could not be set up: AttributeError")
    assert result.in_force == ()


@pytest.mark.parametrize("field", ["cpu_seconds", "wall_seconds", "memory_bytes", "file_bytes"])
def test_limits_must_be_positive(field):
    values = {"cpu_seconds": 1, "wall_seconds": 1, "memory_bytes": 1, "file_bytes": 1, field: 0}
    with pytest.raises(ValueError, match=field):
        Limits(**values)


def test_torch_trains_and_picks_the_same_kernels_as_outside(confined, workdir):
    import torch

    result, lines = confined("trains", module="sandbox_torch_entries", memory_bytes=1 << 30)
    assert result.ok, result.reason
    assert lines == [torch.backends.cpu.get_cpu_capability()]
    assert read_output(workdir, "weights.pt", 4 << 20)


def test_torch_out_of_memory_is_named(confined):
    result, _ = confined("allocates_10_gb", module="sandbox_torch_entries", memory_bytes=1 << 30)
    assert result.reason.startswith("The code needed more than the limit of 1,024 MiB of memory")
