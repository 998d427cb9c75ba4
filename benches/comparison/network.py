"""Three network namespaces, client - relay - peer, whose links behave like network cards.

A pair of veth left alone flatters every relay: it runs the relay's whole receive path on the sender's processor, and lets
what was sent in one piece cross in one piece. Here each end receives by NAPI in a thread of its own, which is pinned, and
the load's ends segment before the wire, so that the relay receives single packets as from real clients.
"""

import os
import shutil
import signal
import subprocess

CLIENT = "20.0.1.2"
LISTEN = "20.0.1.1"
RELAY = "20.0.2.1"
PEER = "20.0.2.2"

LOAD_CORE = 0
RELAY_CORE = 1
# One priority for all: a receive thread above the server would take the core from it once a packet, and one above the
# load, which yields in every round, would make the relay interrupt the other core once a packet, as no network card does.
PRIORITY = 5


class Network:
    """The namespaces, from construction to `close`.

    Should this process die without `close`, a guardian removes them, and `directory` with them.
    """

    def __init__(self, directory):
        tag = os.getpid()
        self.client, self.relay, self.peer = (f"relais-{tag}-{side}" for side in ("client", "relay", "peer"))
        self._names = (self.client, self.relay, self.peer)
        self._alive = _guard(self._names, directory)
        for name in self._names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
            self.write(name, "/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")
            self.write(name, "/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
        self.write(self.relay, "/proc/sys/net/ipv4/ip_forward", "1")
        self.client_end, self.relay_client_end = f"r{tag}a", f"r{tag}b"
        self.relay_peer_end, self.peer_end = f"r{tag}c", f"r{tag}d"
        self._link(self.client, self.client_end, CLIENT, self.relay, self.relay_client_end, LISTEN)
        self._link(self.peer, self.peer_end, PEER, self.relay, self.relay_peer_end, RELAY)
        self.relay_threads = self._pin((self.relay_client_end, self.relay_peer_end), RELAY_CORE)
        self.sink_threads = self._pin((self.client_end, self.peer_end), LOAD_CORE)
        self.relay_threads += kernel_threads(f"ksoftirqd/{RELAY_CORE}")

    def _link(self, host, host_end, host_address, relay, relay_end, relay_address):
        run("ip", "link", "add", host_end, "numtxqueues", "1", "numrxqueues", "1", "netns", host, "type", "veth",
            "peer", "name", relay_end, "numtxqueues", "1", "numrxqueues", "1", "netns", relay)
        for name, end, address in ((host, host_end, host_address), (relay, relay_end, relay_address)):
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", end)
            run("ip", "-n", name, "link", "set", end, "up")
            # veth receives by NAPI only from an end that does no TSO.
            self.run(name, "ethtool", "-K", end, "gro", "on", "tso", "off")
            self.write(name, f"/sys/class/net/{end}/threaded", "1")
        self.run(host, "ethtool", "-K", host_end, "tx-udp-segmentation", "off")
        run("ip", "-n", host, "route", "add", "default", "via", relay_address)

    def _pin(self, devices, core):
        threads = [thread for device in devices for thread in kernel_threads(f"napi/{device}-")]
        if len(threads) != len(devices):
            raise Failure("this kernel gave the veth devices no NAPI threads (/sys/class/net/DEVICE/threaded): Linux 5.12 "
                          "or newer is needed")
        for thread in threads:
            os.sched_setaffinity(thread, {core})
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(PRIORITY))
        return threads

    def run(self, namespace, *command):
        """Runs a command in a namespace to its end and returns what it printed."""
        return run("ip", "netns", "exec", namespace, *command)

    def write(self, namespace, path, text):
        """Writes to a file below /proc or /sys as that namespace sees it."""
        self.run(namespace, "sh", "-c", 'printf %s "$1" > "$2"', "sh", text, path)

    def command(self, namespace, core, *command):
        """The command line that runs a command in a namespace, on one core, in real time."""
        return ["ip", "netns", "exec", namespace, "taskset", "-c", str(core), "chrt", "-f", str(PRIORITY), *command]

    def close(self):
        """Ends what still runs in the namespaces and removes them."""
        remove(self._names)
        os.close(self._alive)


class Failure(Exception):
    """What cannot be measured, and what to do about it."""


def run(*command):
    """Runs a command to its end and returns what it printed; `Failure` with its complaint when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        complaint = (done.stderr or done.stdout).strip()
        raise Failure(f"{' '.join(command)}: exit code {done.returncode}{': ' if complaint else ''}{complaint}")
    return done.stdout


def kernel_threads(prefix):
    """The ids of the kernel threads whose names begin so."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/comm", encoding="utf-8") as comm:
                    if comm.read().startswith(prefix):
                        found.append(int(entry))
            except OSError:
                continue
    return found


def remove(names):
    """Removes namespaces with all that runs in them; those that are not there are no error."""
    for name in names:
        pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def _guard(names, directory):
    """Starts a process that removes all that is left once the file that this returns is closed, by whatever means."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.close(writing)
        os.read(reading, 1)
        remove(names)
        shutil.rmtree(directory, ignore_errors=True)
        os._exit(0)
    os.close(reading)
    return writing
