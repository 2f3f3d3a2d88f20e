"""Several hosts on one machine: each has its own network, processes, mounts, name, home, /tmp and sshd; most share /mnt.

Everything is in namespaces that nothing on the machine refers to, so the kernel removes it all (interfaces, mounts, processes)
once the first process of each is dead, and that one dies with the process that made it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TOOLS = ("ip", "nsenter", "unshare", "setpriv", "rsync", "ssh", "ssh-keygen", "/usr/sbin/sshd")
PRIVATE = ("/root", "/tmp")  # what a host has to itself; /dev/shm and /run are its own too
SUBNET = "10.77.0"
NAMESPACES = ("--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts", "--ipc")

# The first process of a host: lays out its mounts, then becomes sshd, which also reaps whatever is orphaned.
INIT = """
set -e
for path in {keep}; do
    for private in {private}; do
        case $path/ in $private/*) mkdir -p {disk}$path; mount --bind $path {disk}$path;; esac
    done
done
mount --bind {shared} /mnt
mount -t tmpfs -o size=300m tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir /run/sshd
hostname {name}
mount --bind {names} /etc/hosts
for private in {private}; do mount --rbind {disk}$private $private; done
exec /usr/sbin/sshd -D -e -f /dev/null -h /root/.ssh/host_key -o UsePAM=no -o PermitRootLogin=prohibit-password \
    -o PidFile=none -o StrictModes=no -o MaxStartups=100
"""


def why_not() -> str | None:
    """Why hosts can't be made here, or None where they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux, to make network namespaces"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)} (Debian: apt-get install iproute2 util-linux openssh-server rsync)"
    tried = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else "this machine does not let root make namespaces"


class Host:
    """One host. ``disk`` is what its private folders hold, seen from outside, also after it was powered off; ``mnt`` its /mnt."""

    def __init__(self, switch: Switch, name: str, number: int, shares: bool = True) -> None:
        self.switch, self.name, self.ip = switch, name, f"{SUBNET}.{number}"
        self.disk = switch.folder / name
        self.mnt = switch.shared if shares else self.disk / "mnt"
        self._ran = 0
        self._lay_out()
        with open(switch.names, "a") as names:
            names.write(f"{self.ip} {name}\n")
        keep = {str(switch.repository), sys.prefix, sys.base_prefix, *(p for p in sys.path if os.path.isdir(p))}
        script = INIT.format(
            keep=shlex.join(sorted(keep, key=len)),
            private=" ".join(PRIVATE),
            disk=self.disk,
            shared=self.mnt,
            name=name,
            names=switch.names,
        )
        self.log = switch.folder / f"{name}.log"
        with open(self.log, "w") as log:
            self._unshare = _spawn([*NAMESPACES, "bash", "-c", script], log)
        self.pid = _child(self._unshare.pid)
        switch.plug(self)
        _wait(lambda: "Server listening" in self.log.read_text(), 20, f"no sshd: {self.log.read_text()}")

    def _lay_out(self) -> None:
        ssh = self.disk / "root/.ssh"
        ssh.mkdir(parents=True, mode=0o700)
        (self.disk / "tmp").mkdir(mode=0o1777)
        self.mnt.mkdir(exist_ok=True)
        key = self.switch.key
        shutil.copy(key, ssh / "id_ed25519")
        shutil.copy(key, ssh / "host_key")
        shutil.copy(f"{key}.pub", ssh / "authorized_keys")

    @property
    def environment(self) -> dict[str, str]:
        """A fresh login's, with this Python first on the path."""
        path = f"{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"HOME": "/root", "USER": "root", "PATH": path, "LANG": "C.UTF-8", "PYTHONPATH": str(self.switch.repository)}

    def start(self, command: Sequence[str] | str, log: Path, **env: str) -> subprocess.Popen[Any]:
        """Start a command (words, or a line for bash) on the host, in the repository's folder; its output goes to a file."""
        words = ["bash", "-c", command] if isinstance(command, str) else list(command)
        enter = ["nsenter", "-t", str(self.pid), "-a", f"--wd={self.switch.repository}"]
        with open(log, "w") as out:
            return subprocess.Popen(
                [*enter, *words], env=self.environment | env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, text=True
            )

    def run(self, command: Sequence[str] | str, timeout: float = 120, check: bool = True, **env: str) -> tuple[int, str]:
        """Run a command on the host; returns its exit code and output. ``check``: fail the test where the code is not 0."""
        self._ran += 1
        log = self.switch.folder / f"{self.name}-{self._ran}.log"  # a file: what the command leaves running may hold a pipe open
        process = self.start(command, log, **env)
        try:
            process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{self.name}: {command}: still running after {timeout} s\n{log.read_text()}") from None
        assert process.returncode == 0 or not check, f"{self.name}: {command}: exit {process.returncode}\n{log.read_text()}"
        return process.returncode, log.read_text()

    def processes(self, named: str = "") -> list[str]:
        """The numbers, on the host, of all its processes whose command line holds this."""
        lines = self.run(["ps", "-eo", "pid=,args="])[1].splitlines()
        return [line.split()[0] for line in lines if named in line]

    def signal(self, name: str, processes: Sequence[str]) -> None:
        """Send a signal, such as STOP, to some of its processes."""
        self.run(["kill", f"-{name}", *processes])

    def power_off(self) -> None:
        """End all its processes at once, with -9; its network goes with them."""
        os.kill(self.pid, signal.SIGKILL)
        self._unshare.wait(timeout=20)

    def cut(self) -> None:
        """Take its link down: it runs on, and hears and reaches nobody."""
        self.switch.ip("link", "set", f"to-{self.name}", "down")

    def rejoin(self) -> None:
        """Bring its link back."""
        self.switch.ip("link", "set", f"to-{self.name}", "up")


class Switch:
    """The hosts' network: a bridge in a namespace of its own. A context manager; all hosts end with it."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder, self.repository = folder, repository.resolve()
        self.shared = folder / "shared"
        self.shared.mkdir()
        self.key, self.names = folder / "key", folder / "hosts"
        self.names.write_text("127.0.0.1 localhost\n")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self.hosts: list[Host] = []
        self._unshare = _spawn(["--net", "sleep", "infinity"], subprocess.DEVNULL)
        _wait(lambda: _network(self._unshare.pid) != _network(os.getpid()), 10, "no network namespace for the bridge")
        address = f"addr add {SUBNET}.254/24 dev bridge"
        for line in ("link set lo up", "link add bridge type bridge", address, "link set bridge up"):
            self.ip(*line.split())

    def ip(self, *words: str, host: Host | None = None) -> None:
        """``ip`` on the bridge's side, or on a host's."""
        pid = str(host.pid if host else self._unshare.pid)
        subprocess.run(["nsenter", "-t", pid, "-n", "ip", *words], check=True, timeout=20)

    def plug(self, host: Host) -> None:
        """Connect a host with a cable to the bridge."""
        port = f"to-{host.name}"
        self.ip(*f"link add {port} type veth peer name eth0 netns {host.pid}".split())
        self.ip(*f"link set {port} master bridge up".split())
        route = f"route add default via {SUBNET}.254"  # Ray finds its own address by asking for a route to the outside
        for line in ("link set lo up", f"addr add {host.ip}/24 dev eth0", "link set eth0 up", route):
            self.ip(*line.split(), host=host)

    def add(self, *names: str, shares: bool = True) -> list[Host]:
        """New hosts; ``shares``: whether their /mnt is that of all others that share, or their own."""
        for name in names:
            self.hosts.append(Host(self, name, len(self.hosts) + 1, shares))
        return self.hosts[-len(names) :]

    def __enter__(self) -> Switch:
        return self

    def __exit__(self, *exception: object) -> None:
        for host in self.hosts:
            if host._unshare.poll() is None:
                host.power_off()
        self._unshare.kill()
        self._unshare.wait(timeout=20)


def _spawn(flags: list[str], log: Any) -> subprocess.Popen[bytes]:
    """``unshare`` that dies with this process."""
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", *flags]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def _network(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def _child(pid: int) -> int:
    """The first child of a process, once it is there."""
    found: list[str] = []

    def look() -> bool:
        found[:] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return bool(found)

    _wait(look, 10, "unshare started nothing")
    return int(found[0])


def _wait(condition: Any, seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(why_not())
