"""What the kernel counts for a container, in the words of both versions of its interface."""

from pathlib import Path

import pytest

from poise_lib.sandbox.cgroup import out_of_memory_kills

V2 = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"


@pytest.mark.parametrize(("text", "count"), [(V2, 2), (V1, 5), ("oom_kill_disable 0\nunder_oom 0\n", 0), (None, 0)])
def test_kills_are_counted(tmp_path: Path, text: str | None, count: int) -> None:
    file = tmp_path / "events"
    if text is not None:
        file.write_text(text)
    assert out_of_memory_kills((str(tmp_path / "absent"), str(file))) == count
