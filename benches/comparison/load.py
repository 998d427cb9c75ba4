"""Runs `relais bench` against one server, and refuses results that would mislead."""

import json
import os
import subprocess

from .machine import run_time_ns
from .network import CLIENT, LISTEN, LOAD_CORE, PEER, Failure
from .servers import PASSWORD, USER

# What an Ethernet device with an MTU of 1500 can receive at once, without the Ethernet header.
MTU = 1500


class Load:
    """Starts loads; `duration` and `warmup` in seconds."""

    def __init__(self, network, program, certificate, duration, warmup):
        self._network = network
        self._program = os.path.abspath(program)
        self._certificate = certificate
        self._duration = duration
        self._warmup = warmup

    def bench(self, kind, transport, pid, *options):
        """What `relais bench KIND` found, as a dictionary; `pid` is the server's, or None where there is no server."""
        threads = [*([pid] if pid is not None else []), *(self._network.relay_threads if kind != "hold" else [])]
        server = []
        if pid is not None:
            uri = f"turns:{LISTEN}:5349" if transport == "tls" else f"turn:{LISTEN}:3478"
            if kind == "stun":
                uri = f"stun:{LISTEN}:3478"
            else:
                server += ["--user", USER]
                uri += f"?transport={'tcp' if transport == 'tls' else transport}"
            server = [uri, *server, *(["--ca", self._certificate] if transport == "tls" else [])]
        pids = [part for thread in threads for part in ("--server-pid", str(thread))]
        return self._run("bench", kind, *server, "--bind", CLIENT, *pids, "--json", *options)

    def span(self):
        """The options that say how long to measure."""
        return ("--duration", f"{self._duration}s", "--warmup", f"{self._warmup}s")

    def throughput(self, transport, pid, *options):
        """What came through, in both directions, over the measured time."""
        before = self._received()
        work = sum(map(run_time_ns, self._network.relay_threads))
        found = self.bench("throughput", transport, pid, "--peer-netns", self._network.peer, "--peer-address", PEER,
                           *self.span(), *(["--direct"] if pid is None else []), *options)
        for kind in ("corrupt", "duplicate", "misdelivered"):
            if found.get(kind):
                raise Failure(f"{found[kind]} of {found['sent']} packets came {kind}")
        if not found["received"]:
            raise Failure("nothing came through")
        after = self._received()
        for device, (size, count) in after.items():
            size, count = size - before[device][0], count - before[device][1]
            if transport == "udp" and count and size / count > MTU:
                raise Failure(f"{size / count:.0f} bytes a packet arrive at the relay: they are merged before the wire")
        if sum(map(run_time_ns, self._network.relay_threads)) == work:
            raise Failure("the relay's devices do not receive in their own threads")
        return found

    def _received(self):
        """Bytes and packets that the relay's devices have received."""
        network = self._network
        devices = (network.relay_client_end, network.relay_peer_end)
        names = [f"/sys/class/net/{device}/statistics/rx_{what}" for device in devices for what in ("bytes", "packets")]
        numbers = [int(line) for line in network.run(network.relay, "cat", *names).split()]
        return {device: (numbers[2 * at], numbers[2 * at + 1]) for at, device in enumerate(devices)}

    def _run(self, *arguments):
        command = self._network.command(self._network.client, LOAD_CORE, self._program, *arguments)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env={**os.environ, "RELAIS_PASSWORD": PASSWORD})
        try:
            return json.loads(done.stdout)
        except ValueError:
            words = " ".join(("relais", *arguments))
            raise Failure(f"{words}: exit code {done.returncode}: {done.stderr.strip()}") from None
