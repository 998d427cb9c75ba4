"""`turn-client-proto`: SHA-256, USERHASH and ADDITIONAL-ADDRESS-FAMILY (0x8000), which no browser sends."""

import functools
import json
import os
import subprocess

from harness import test
from server import PASSWORD, PORT, ROOT, USER, start_server

SOURCE = ROOT / "tests/interop/turn_proto"
PEER_PORT = 3480


@functools.cache
def program():
    """The client of turn_proto/, a package of its own."""
    folder = ROOT / "target/interop/turn_proto"
    env = os.environ | {"CARGO_TARGET_DIR": str(folder)}
    done = subprocess.run(["cargo", "build", "-q", "--locked"], cwd=SOURCE, env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, f"cargo build: {done.stderr[-900:]}"
    return str(folder / "debug/relais-turn-proto")


def talk(net, transport="udp", families="4", options="-", server=None):
    """Every message comes back, from a peer of each family; returns the relayed addresses."""
    peers = {"4": [net.v4("peer")], "6": [net.v6("peer")], "46": [net.v4("peer"), net.v6("peer")]}[families]
    net.spawn("peer", "turnutils_peer", *[word for peer in peers for word in ("-L", peer)], "-p", str(PEER_PORT))
    places = [f"[{peer}]:{PEER_PORT}" if ":" in peer else f"{peer}:{PEER_PORT}" for peer in peers]
    done = net.exec("alice", program(), server or f"{net.v4('server')}:{PORT}", transport, families, USER, PASSWORD, options, *places)
    assert done.returncode == 0, done.stderr[-900:]
    result = json.loads(done.stdout)
    assert result["good"] == result["wanted"] and not result["failures"], result
    return result["relayed"]


@test(600, coturn=True)
def turn_proto_over_udp(net):
    start_server(net)
    assert talk(net) == [net.v4("server")]


@test(600, coturn=True)
def turn_proto_over_tcp(net):
    start_server(net)
    assert talk(net, "tcp") == [net.v4("server")]


@test(600)
def turn_proto_with_sha256_and_userhash(net):
    start_server(net)
    for transport in ("udp", "tcp"):
        assert talk(net, transport, options="sha256,userhash") == [net.v4("server")]


@test(600, coturn=True)
def turn_proto_ipv6_relay(net):
    start_server(net)
    assert talk(net, families="6", server=f"[{net.v6('server')}]:{PORT}") == [net.v6("server")]


@test(600)
def turn_proto_two_relayed_addresses_of_one_allocation(net):
    start_server(net)
    for transport in ("udp", "tcp"):
        assert sorted(talk(net, transport, families="46")) == sorted([net.v4("server"), net.v6("server")])
