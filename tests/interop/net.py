"""A small internet made of network namespaces: a router, a server, clients, and a client behind NAT.

The addresses are ordinary public ones on purpose. The server refuses to relay to special-purpose
ranges (documentation, private, loopback ...), so tests that used those would only ever see 403. The
namespaces have no way out of the machine, so nothing sent here reaches the owners of the addresses.

    router ── server  5.9.1.10      2a01:4f8:1:1::10
           ├─ alice   8.34.2.10     2a01:4f8:1:2::10
           ├─ bob     23.20.3.10    2a01:4f8:1:3::10
           ├─ peer    23.21.4.10    2a01:4f8:1:4::10
           └─ nat     8.35.5.10  ── carol 192.168.7.20 (masqueraded)

Names are unique to the run, so several runs can share a machine, and everything is removed at the end.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1

NAT_PUBLIC = "8.35.5.10"
HOSTS = {
    "server": ("5.9.1", "2a01:4f8:1:1"),
    "alice": ("8.34.2", "2a01:4f8:1:2"),
    "bob": ("23.20.3", "2a01:4f8:1:3"),
    "peer": ("23.21.4", "2a01:4f8:1:4"),
    "nat": ("8.35.5", "2a01:4f8:1:5"),
}
PREFIX = "rlt"
NETNS_FILES = pathlib.Path("/etc/netns")
SERVER_NAME, SERVER_NAME_V6 = "turn.relais.example", "turn6.relais.example"


def die_with_parent():
    """Run in a child before exec: no process outlives the test run, however that ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(argv, timeout=60, check=True, stdin=None, env=None):
    """Runs a command to its end, within `timeout` seconds, and returns it with its output as text."""
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout, input=stdin, env=env,
        preexec_fn=die_with_parent, errors="replace",
    )
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
    return done


def sweep():
    """Removes the namespaces and folders of runs that were killed before they could."""
    for folder in pathlib.Path(tempfile.gettempdir()).glob("relais-test-*-*"):
        pid = folder.name.split("-")[2]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(folder, ignore_errors=True)
    for line in run(["ip", "netns", "list"], check=False).stdout.splitlines():
        name = line.split()[0] if line.split() else ""
        if not name.startswith(PREFIX):
            continue
        pid = name[len(PREFIX):].split("-")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            run(["ip", "netns", "del", name], check=False)
            shutil.rmtree(NETNS_FILES / name, ignore_errors=True)


class Network:
    """The namespaces of one run. Use it as a context manager."""

    def __init__(self):
        self.tag = f"{PREFIX}{os.getpid()}"
        self.made = []
        self.processes = []
        self.lock = threading.Lock()
        self.origin = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self):
        sweep()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def name(self, host):
        """The namespace's name, for `ip netns exec`."""
        return f"{self.tag}-{host}"

    @staticmethod
    def v4(host):
        return "192.168.7.20" if host == "carol" else f"{HOSTS[host][0]}.10"

    @staticmethod
    def v6(host):
        return f"{HOSTS[host][1]}::10"

    def _namespace(self, host):
        run(["ip", "netns", "add", self.name(host)])
        self.made.append(host)
        # What is in /etc/netns/NAME covers its twin in /etc for `ip netns exec`. No name server is asked for what is
        # not in the hosts file: browsers wait seconds for one that does not answer.
        own = NETNS_FILES / self.name(host)
        own.mkdir(parents=True, exist_ok=True)
        (own / "hosts").write_text(
            f"127.0.0.1 localhost\n::1 localhost\n{self.v4('server')} {SERVER_NAME}\n{self.v6('server')} {SERVER_NAME_V6}\n")
        (own / "nsswitch.conf").write_text("hosts: files\n")
        self.sysctl(host, "net.ipv6.conf.all.accept_dad", 0)
        self.sysctl(host, "net.ipv6.conf.default.accept_dad", 0)
        self.ip(host, "link", "set", "lo", "up")

    def ip(self, host, *words):
        return run(["ip", "-n", self.name(host), *words])

    def sysctl(self, host, key, value):
        run(["ip", "netns", "exec", self.name(host), "sysctl", "-qw", f"{key}={value}"])

    def _cable(self, left, left_port, right, right_port):
        run(["ip", "link", "add", left_port, "netns", self.name(left), "type", "veth",
             "peer", "name", right_port, "netns", self.name(right)])
        self.ip(left, "link", "set", left_port, "up")
        self.ip(right, "link", "set", right_port, "up")

    def _build(self):
        self._namespace("router")
        self.sysctl("router", "net.ipv4.ip_forward", 1)
        self.sysctl("router", "net.ipv6.conf.all.forwarding", 1)
        for host, (four, six) in HOSTS.items():
            self._namespace(host)
            self._cable("router", f"to-{host}", host, "eth0")
            self.ip("router", "addr", "add", f"{four}.1/24", "dev", f"to-{host}")
            self.ip("router", "addr", "add", f"{six}::1/64", "dev", f"to-{host}", "nodad")
            self.ip(host, "addr", "add", f"{four}.10/24", "dev", "eth0")
            self.ip(host, "addr", "add", f"{six}::10/64", "dev", "eth0", "nodad")
            self.ip(host, "route", "add", "default", "via", f"{four}.1")
            self.ip(host, "-6", "route", "add", "default", "via", f"{six}::1")
        self._namespace("carol")
        self._cable("nat", "inside", "carol", "eth0")
        self.ip("nat", "addr", "add", "192.168.7.1/24", "dev", "inside")
        self.sysctl("nat", "net.ipv4.ip_forward", 1)
        self.ip("carol", "addr", "add", "192.168.7.20/24", "dev", "eth0")
        self.ip("carol", "route", "add", "default", "via", "192.168.7.1")
        rules = """
            table ip nat {
                chain post {
                    type nat hook postrouting priority srcnat
                    oifname "eth0" masquerade
                }
            }
        """
        run(["ip", "netns", "exec", self.name("nat"), "nft", "-f", "-"], stdin=rules)

    def exec(self, host, *argv, timeout=60, check=False, env=None):
        """Runs a command on a host to its end."""
        return run(["ip", "netns", "exec", self.name(host), *argv], timeout, check, env=env)

    def spawn(self, host, *argv, **options):
        """Starts a command on a host; it is killed when the network goes, if not before."""
        child = subprocess.Popen(
            ["ip", "netns", "exec", self.name(host), *argv],
            preexec_fn=die_with_parent, stdin=subprocess.DEVNULL, **options,
        )
        self.processes.append(child)
        return child

    @contextlib.contextmanager
    def inside(self, host):
        """Sockets that this thread opens in the block belong to `host`, and stay there after it."""
        with open(f"/run/netns/{self.name(host)}", "rb") as there:
            if LIBC.setns(there.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns to {host}")
        try:
            yield
        finally:
            if LIBC.setns(self.origin, CLONE_NEWNET) != 0:
                os._exit(70)  # going on would run the rest of the tests in the wrong network

    def stop_processes(self):
        """Ends what `spawn` started and is still there, at the end of a test."""
        for child in self.processes:
            if child.poll() is None:
                child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)
        self.processes.clear()

    def close(self):
        self.stop_processes()
        for host in reversed(self.made):
            run(["ip", "netns", "del", self.name(host)], check=False)
            shutil.rmtree(NETNS_FILES / self.name(host), ignore_errors=True)
        self.made.clear()
