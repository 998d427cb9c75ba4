"""The server behind 1:1 NAT, as in most clouds: `relay.external` names the address that others see."""

import contextlib
import socket

from harness import test
from net import run
from server import PASSWORD, PORT, USER, start_server
from test_policy import code_of
from turnclient import Client

PUBLIC = "5.9.77.10"


@contextlib.contextmanager
def one_to_one_nat(net):
    """The router maps PUBLIC to the server and back, for the server's own packets to PUBLIC too."""
    rules = f"""
        table ip cloud {{
            chain pre {{
                type nat hook prerouting priority dstnat
                ip daddr {PUBLIC} dnat to {net.v4("server")}
            }}
            chain post {{
                type nat hook postrouting priority srcnat
                ip saddr {net.v4("server")} snat to {PUBLIC}
            }}
        }}
    """
    router = ["ip", "netns", "exec", net.name("router"), "nft"]
    run([*router, "-f", "-"], stdin=rules)
    try:
        yield
    finally:
        run([*router, "delete", "table", "ip", "cloud"])


def start(net):
    return start_server(net, {"relay": {"addresses": [net.v4("server")], "external": {net.v4("server"): PUBLIC}}})


@test()
def external_address_is_what_clients_are_told_and_data_flows(net):
    with one_to_one_nat(net):
        start(net)
        client = Client(net, "alice", (PUBLIC, PORT), USER, PASSWORD)
        host, port = client.allocate()
        assert host == PUBLIC, host
        with net.inside("peer"):
            peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.bind((net.v4("peer"), 0))
        peer.settimeout(3)
        client.bind_channel(0x4000, *peer.getsockname())
        client.send_channel(0x4000, b"out")
        assert peer.recvfrom(100) == (b"out", (PUBLIC, port))
        peer.sendto(b"in", (PUBLIC, port))
        assert client.receive() == b"in"


@test()
def two_clients_reach_each_other_by_external_addresses(net):
    with one_to_one_nat(net):
        start(net)
        alice, bob = (Client(net, host, (PUBLIC, PORT), USER, PASSWORD, t) for host, t in (("alice", "udp"), ("bob", "tcp")))
        to_alice, to_bob = alice.allocate(), bob.allocate()
        alice.bind_channel(0x4000, *to_bob)
        bob.bind_channel(0x4000, *to_alice)
        for one, other in ((alice, bob), (bob, alice)):
            one.send_channel(0x4000, b"hello")
            assert other.receive() == b"hello"


@test()
def the_external_address_is_no_way_to_our_own_ports(net):
    with one_to_one_nat(net):
        start(net)
        client = Client(net, "alice", (PUBLIC, PORT), USER, PASSWORD)
        client.allocate()
        assert (code := code_of(client.bind_channel, 0x4000, PUBLIC, PORT)) == 403, code
