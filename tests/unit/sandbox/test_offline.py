"""A process that has given the network up, and what comes of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from poise_lib.errors import SandboxError
from poise_lib.sandbox import offline

TRY = """
import os, socket, subprocess, sys
from poise_lib.sandbox import go_offline
go_offline()
go_offline()
code = '''
import socket
socket.socketpair()
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET):
    try:
        socket.socket(family, socket.SOCK_DGRAM)
    except PermissionError:
        continue
    raise SystemExit(f"{family} was to be had")
'''
exec(code)
raise SystemExit(subprocess.run([sys.executable, "-c", code]).returncode)
"""


def test_no_socket_to_anywhere_is_to_be_had_by_the_process_or_its_children() -> None:
    done = subprocess.run([sys.executable, "-c", TRY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_runs_where_the_network_cannot_be_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    with pytest.raises(SandboxError, match="candidate code does not run beside an object store without seccomp"):
        offline.go_offline()
