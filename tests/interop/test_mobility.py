"""Mobility (RFC 8016): a client whose address changes keeps its relayed address, its permissions and its channels."""

import contextlib
import struct

from harness import test
from server import PASSWORD, PORT, USER, start_server
from test_running import echo_peer, relays
from test_uclient import PATIENT, STATIC, uclient
from turnclient import ALLOCATE, LIFETIME, REFRESH, RELAYED, TRANSPORT, Client, TurnError, unxor_address

TICKET = 0x8030
CHANNEL = 0x4000
NEW_ADDRESS = "8.34.2.11"


@contextlib.contextmanager
def another_network(net):
    """alice's host leaves its address for another one, as a telephone does that leaves the house."""
    def swap(gone, new):
        net.ip("alice", "addr", "del", f"{gone}/24", "dev", "eth0")
        net.ip("alice", "addr", "add", f"{new}/24", "dev", "eth0")
        net.ip("alice", "route", "replace", "default", "via", f"{new.rsplit('.', 1)[0]}.1")

    swap(net.v4("alice"), NEW_ADDRESS)
    try:
        yield
    finally:
        swap(NEW_ADDRESS, net.v4("alice"))


def client(net, transport):
    return Client(net, "alice", (net.v4("server"), PORT), USER, PASSWORD, transport)


def moves(net, before, after):
    """Allocates over one transport, moves, and goes on over another."""
    start_server(net)
    one = client(net, before)
    found, transaction = one.authenticated(ALLOCATE, [(TRANSPORT, b"\x11\0\0\0"), (TICKET, b"")])
    relayed, ticket = unxor_address(found[RELAYED], transaction), found[TICKET]
    peer, port = echo_peer(net)
    one.bind_channel(CHANNEL, net.v4("peer"), port)
    relays(one, peer, relayed, port, b"before")
    with another_network(net):
        two = client(net, after)
        assert two.local[0] == NEW_ADDRESS, two.local
        found, _ = two.authenticated(REFRESH, [(LIFETIME, struct.pack("!I", 600)), (TICKET, ticket)])
        assert found[TICKET] not in (b"", ticket), "the ticket must be a new one"
        relays(two, peer, relayed, port, b"after")
        # The permission came along as well.
        two.send_to(net.v4("peer"), port, b"by indication")
        assert peer.recvfrom(2048) == (b"by indication", relayed)
        two.close()
    one.close()


@test()
def a_client_changes_its_address_over_udp(net):
    moves(net, "udp", "udp")


@test()
def a_client_changes_its_address_over_tcp(net):
    moves(net, "tcp", "tcp")


@test()
def a_client_changes_its_address_and_its_transport(net):
    moves(net, "udp", "tcp")


@test()
def a_client_gets_no_ticket_where_mobility_is_off(net):
    start_server(net, {"relay": {"addresses": [net.v4("server")], "mobility": False}})
    try:
        client(net, "udp").authenticated(ALLOCATE, [(TRANSPORT, b"\x11\0\0\0"), (TICKET, b"")])
    except TurnError as error:
        assert error.code == 405, error
    else:
        raise AssertionError("an allocation that may move was made")


def uclient_moves(net, *flags):
    """-M: uclient leaves its first port at once. Between clients of one relay (-y) the one that has not sent yet would miss
    what comes before: data stay on the old 5-tuple until data come on the new one (RFC 8016 §3.2.2)."""
    server = start_server(net, {**PATIENT, "log": {"level": "info,relais::allocation=debug"}})
    uclient(net, "-M", "-s", *flags, *STATIC)
    assert "allocation moved" in server.stderr(), "no client has moved"


@test()
def uclient_moves_over_udp(net):
    uclient_moves(net)


@test()
def uclient_moves_over_tcp(net):
    uclient_moves(net, "-t")
