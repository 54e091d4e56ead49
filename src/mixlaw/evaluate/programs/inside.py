"""What stands in the process of one program: it shuts itself in, then runs the program and says how that went.

It is started by :mod:`mixlaw.evaluate.programs.runner` as a script, so it imports the standard library only. Standard
input is a file with one JSON object (the program and its limits); standard output gets two lines of JSON: how it is
shut in, and the outcome. The program itself has neither.

The layers, from outside to inside:

1. Namespaces of its own for the network (empty: not even a loopback that is up), for mounts (every file system
   read-only, a small one in memory over the working folder), and for System V memory. As root they are made directly,
   as a user inside a user namespace; where the kernel or a container forbids both, this layer is missing.
2. A root user becomes another user; all capabilities are given up.
3. Limits of the kernel per process: address space, processor time, file size, open files; and per user: processes.
4. A filter of system calls (seccomp): no socket of any kind, no signal to others, no way out of the process group (so
   that the group is killed whole), no mounts and namespaces, no io_uring, which would get round the filter.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import resource
import struct
import sys
from typing import Any

_NEW_MOUNTS, _NEW_IPC, _NEW_USERS, _NEW_NETWORK = 0x00020000, 0x08000000, 0x10000000, 0x40000000
_PRIVATE, _RECURSIVE, _BIND, _NOSUID, _NODEV = 0x40000, 0x4000, 0x1000, 0x2, 0x4
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _READ_ONLY = 442, -100, 0x8000, 0x1
_PARENT_DEATH, _SECCOMP, _DROP_BOUND, _NO_NEW_PRIVILEGES = 1, 22, 24, 38

# Numbers of the system calls that are refused: (x86_64, aarch64). From asm/unistd.h.
_REFUSED = {
    "socket": (41, 198),
    "io_uring_setup": (425, 425),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_writev": (311, 271),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "mount_setattr": (_MOUNT_SETATTR, _MOUNT_SETATTR),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")]


def _call(name: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _namespaces(libc: Any, folder: str, bytes_in_folder: int, user: int) -> None:
    """A view of the machine in which nothing can be written but the working folder, and without a network."""
    wanted = _NEW_MOUNTS | _NEW_NETWORK | _NEW_IPC
    if os.geteuid() == 0:
        _call("unshare", libc.unshare(wanted))
    else:
        group = os.getegid()
        _call("unshare", libc.unshare(wanted | _NEW_USERS))
        for file, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{file}", "w", encoding="ascii") as handle:
                handle.write(line)
    _call("mount", libc.mount(b"none", b"/", None, _PRIVATE | _RECURSIVE, None))
    if os.getuid() != user:
        open_paths(libc, [sys.base_prefix, sys.prefix, *filter(os.path.isdir, sys.path), folder])
    said = f"size={bytes_in_folder},nr_inodes=1000,mode=700,uid={user}".encode()
    attributes = _MountAttributes(set=_READ_ONLY)
    _call(
        "mount_setattr",
        libc.syscall(
            _MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, ctypes.byref(attributes), ctypes.sizeof(attributes)
        ),
    )
    _call("mount", libc.mount(b"none", folder.encode(), b"tmpfs", _NOSUID | _NODEV, said))
    os.chdir(folder)


def open_paths(libc: Any, paths: list[str]) -> None:
    """Make folders reachable for every user that lie in one which only root may enter, such as a Python in /root.

    In this view of the machine an empty folder is put over the closed one, and what is needed of it into that.
    """
    needed = sorted(os.path.realpath(path) for path in paths)
    needed = [path for path in needed if not any(path.startswith(f"{other}/") for other in needed)]
    closed: dict[str, list[tuple[str, int]]] = {}
    for path in dict.fromkeys(needed):
        parents = [path[:i] for i in range(1, len(path)) if path[i] == "/"]
        first = next((parent for parent in parents if not os.stat(parent).st_mode & 1), None)
        if first is not None:
            closed.setdefault(first, []).append((path, os.open(path, os.O_PATH)))
    for first, inside in closed.items():
        _call("mount", libc.mount(b"none", first.encode(), b"tmpfs", _NOSUID | _NODEV, b"size=1m,mode=755"))
        for path, descriptor in inside:
            os.makedirs(path)
            source = f"/proc/self/fd/{descriptor}".encode()
            _call("mount", libc.mount(source, path.encode(), None, _BIND | _RECURSIVE, None))
            os.close(descriptor)


def _give_up_rights(libc: Any, user: int) -> None:
    """Another user than root, no capabilities, and no way to get any."""
    if os.geteuid() == 0:
        for capability in range(64):
            if libc.prctl(_DROP_BOUND, capability, 0, 0, 0):
                break  # the kernel has no more of them
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header = struct.pack("Ii", 0x20080522, 0)  # version 3 of the interface, this process
    _call("capset", libc.capset(header, struct.pack("6I", *[0] * 6)))
    _call("prctl", libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _call("prctl", libc.prctl(_PARENT_DEATH, 9, 0, 0, 0))


def _limits(limits: dict[str, int], counted_before: int) -> None:
    for kind, value in (
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, limits["file_size"]),
        (resource.RLIMIT_NPROC, counted_before + limits["processes"]),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
    ):
        # The first signal of the processor's time tells it from other kills; a second later comes the one that no
        # program can ignore.
        hard = value + 1 if kind == resource.RLIMIT_CPU else value
        resource.setrlimit(kind, (value, hard))


def _filter_calls(libc: Any) -> None:
    column, architecture = _MACHINES[platform.machine()]
    refused = [numbers[column] for numbers in _REFUSED.values()]

    def instruction(code: int, then: int, otherwise: int, value: int) -> bytes:
        return struct.pack("HBBI", code, then, otherwise, value)

    load, equal, above, give = 0x20, 0x15, 0x35, 0x06
    program = [
        instruction(load, 0, 0, 4),  # the architecture: another one numbers its calls differently
        instruction(equal, 1, 0, architecture),
        instruction(give, 0, 0, 0x80000000),  # kill
        instruction(load, 0, 0, 0),  # the number of the call
        instruction(above, len(refused) + 1, 0, 0x40000000),  # the x32 numbering of x86_64: refused whole
    ]
    program += [instruction(equal, len(refused) - i, 0, number) for i, number in enumerate(refused)]
    program += [
        instruction(give, 0, 0, 0x7FFF0000),  # allow
        instruction(give, 0, 0, 0x00050000 | 1),  # refuse: "operation not permitted"
    ]
    given = _Filter(len(program), b"".join(program))
    _call("prctl", libc.prctl(_SECCOMP, 2, ctypes.byref(given), 0, 0))


def _processes_of(user: int) -> int:
    """Processes and threads that this user has now, which the kernel counts too where there is no namespace."""
    count = 0
    for name in os.listdir("/proc"):
        # A process that has ended since it was listed counts no more.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == user:
                count += len(os.listdir(f"/proc/{name}/task"))
    return count


def _shut_in(settings: dict[str, Any]) -> str:
    """Every layer that can be had; returns which of two they are."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder, root = os.getcwd(), os.geteuid() == 0
    user = settings["user"] if root else os.geteuid()
    limits = settings["limits"]
    isolation, counted_before = "namespaces", 0
    child = os.fork()  # tried in a process that can be thrown away: half of a way in is worse than none
    if child == 0:
        try:
            _namespaces(libc, folder, limits["folder_size"], user)
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        _namespaces(libc, folder, limits["folder_size"], user)
    else:
        isolation = "limits"
        if root:
            os.chown(folder, user, user)
        else:
            counted_before = _processes_of(user)
    _give_up_rights(libc, user)
    os.listdir(os.path.dirname(os.__file__))  # a user that may not read the standard library runs no program
    _limits(limits, counted_before)
    _filter_calls(libc)
    return isolation


def _run(program: str) -> tuple[str, str]:
    """The outcome, and what was raised."""
    space: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    try:
        exec(compile(program, "<program>", "exec"), space)
    except AssertionError as error:
        return "failed", f"AssertionError: {error}"
    except SystemExit:
        return "failed", "it left before its tests had ended"
    except BaseException as error:  # noqa: BLE001  (whatever a program raises is its outcome)
        try:
            said = str(error)
        except BaseException:  # noqa: BLE001  (an exception may not be printable)
            said = ""
        return "error", f"{type(error).__name__}: {said}"
    return "passed", ""


def main() -> None:
    """Read the program, shut this process in, run it, and say how that went."""
    settings = json.load(sys.stdin)
    out = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)

    def say(**line: str) -> None:
        os.write(out, b"\n" + json.dumps(line).encode() + b"\n")

    try:
        isolation = _shut_in(settings)
    except (OSError, KeyError, ValueError) as error:
        say(setup=f"{type(error).__name__}: {error}")
        os._exit(1)
    say(isolation=isolation)
    own = os.getpid()
    program, secret = settings["program"], settings["secret"]
    settings.clear()
    outcome, message = _run(program)
    if os.getpid() == own:  # and no child that came back from a fork inside the program
        say(outcome=outcome, message=message[:300], secret=secret)
    os._exit(0)


if __name__ == "__main__":
    main()
