"""What untrusted code might try once it runs: each function is an entry of a sandboxed child."""

# ruff: noqa: SIM115, T201 - crude on purpose, and standard output is what is tested

import ctypes
import fcntl
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time


def returns(workdir):
    print("first line")
    print("second \x1b[31mline")
    (workdir / "out.txt").write_text("written")


def reports_itself(workdir):
    print(os.getuid(), os.getpid(), sorted(os.environ), os.getcwd() == str(workdir), len(os.listdir(workdir)), sep="|")


def open_descriptors(workdir):
    found = []
    for number in range(64):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(str(number))
    print(*found)


def raises(workdir):
    raise ValueError("no such idea \x1b]0;title\x07")


def exits_quietly(workdir):
    os._exit(0)


def crashes(workdir):
    ctypes.string_at(0)


def loops_for_ever(workdir):
    while True:
        pass


def sleeps_for_ever(workdir):
    while True:
        time.sleep(3600)


def ignores_signals(workdir):
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    sleeps_for_ever(workdir)


def forks(workdir):
    while True:
        os.fork()


def starts_a_program(workdir):
    subprocess.run(["/bin/true"], check=True)


def replaces_itself(workdir):
    os.execv("/bin/sh", ["sh", "-c", "echo escaped"])


def starts_threads(workdir):
    while True:
        threading.Thread(target=sleeps_for_ever, args=(workdir,), daemon=True).start()


def allocates_10_gb(workdir):
    bytearray(10 << 30)


def allocates_by_mmap(workdir):
    mmap.mmap(-1, 10 << 30)


def writes_one_huge_file(workdir):
    with open(workdir / "huge", "wb") as file:
        while True:
            file.write(bytes(1 << 20))


def writes_many_files(workdir):
    for number in range(100_000):
        (workdir / str(number)).write_bytes(bytes(1 << 19))


def makes_many_names(workdir):
    for number in range(1_000_000):
        (workdir / str(number)).touch()


def nests_folders(workdir):
    for _ in range(3000):
        os.mkdir("d" * 100)
        os.chdir("d" * 100)


def hides_a_folder(workdir):
    os.mkdir("hidden", 0o300)
    with open("hidden/file", "wb") as file:
        file.write(bytes(1000))


def opens_a_socket(workdir):
    socket.create_connection(("127.0.0.1", 80), timeout=1)


def opens_a_unix_socket(workdir):
    socket.socket(socket.AF_UNIX)


def reads_passwd(workdir):
    print(open("/etc/passwd").read())


def lists_home(workdir):
    print(os.listdir("/root" if os.path.isdir("/root") else "/home"))


def reads_its_neighbour(workdir):
    print((workdir.parent / "secret.txt").read_text())


def writes_outside(workdir):
    (workdir.parent / "escaped.txt").write_text("x")


def writes_into_the_library(workdir):
    import poise_lib

    with open(poise_lib.__file__, "a") as file:
        file.write("# changed\n")


def leaves_a_symlink(workdir):
    os.symlink("/etc/passwd", workdir / "out.txt")


def leaves_a_hard_link(workdir):
    os.link(sys.executable, workdir / "out.txt")


def leaves_a_pipe(workdir):
    os.mkfifo(workdir / "out.txt")


def kills_its_parents(workdir):
    refused = 0
    for target in {os.getppid(), -1, 0, int((workdir / "victim").read_text())}:
        try:
            os.kill(target, signal.SIGKILL)
        except OSError:
            refused += 1
    print("refused", refused)


def traces_its_parent(workdir):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, os.getppid() or 1, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mounts(workdir):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(workdir), b"tmpfs", 0, None) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def gets_a_new_user_namespace(workdir):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def becomes_root(workdir):
    os.setuid(0)
    os.chown(workdir, 0, 0)


def raises_its_limits(workdir):
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def floods_stdout(workdir):
    while True:
        sys.stdout.write("x" * 10_000 + "\n")


def writes_a_long_line(workdir):
    sys.stdout.write("y" * 200_000 + "\nend\n")


def floods_stderr(workdir):
    for _ in range(2000):
        sys.stderr.write("z" * 1000 + "\x1b[2J\n")
    raise RuntimeError("after the flood")


def holds_a_lock(workdir):
    file = open(workdir / "lock", "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    sleeps_for_ever(workdir)


def writes_to_every_descriptor(workdir):
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b'{"status": 0, "in_force": ["forged"]}\n')
        except OSError:
            continue
    raise ValueError("done")
