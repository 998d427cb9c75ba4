"""What the server refuses to relay to, seen by a client with good credentials."""

import time

from harness import test
from server import PASSWORD, PORT, USER, start_server
from turnclient import ALLOCATE, PEER, TRANSPORT, Client, TurnError

CONNECT = 10

FORBIDDEN = [
    "127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.7.20", "169.254.169.254", "100.64.0.1",
    "192.0.2.1", "198.51.100.1", "224.0.0.1", "255.255.255.255",
]
FORBIDDEN_IPV6 = [
    "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
    "64:ff9b::7f00:1", "2002:7f00:1::1", "2001:db8::1",
]


def code_of(action, *arguments):
    try:
        action(*arguments)
    except TurnError as error:
        return error.code
    return 0


@test()
def special_purpose_peers_are_refused_with_403(net):
    start_server(net)
    for family, peers in ((1, FORBIDDEN), (2, FORBIDDEN_IPV6)):
        client = Client(net, "alice", (net.v4("server"), PORT), USER, PASSWORD)
        client.allocate(family=family)
        for number, peer in enumerate(peers):
            assert (code := code_of(client.permit, peer)) == 403, f"CreatePermission for {peer}: {code}"
            code = code_of(client.bind_channel, 0x4000 + number, peer, 4000)
            assert code == 403, f"ChannelBind for {peer}: {code}"


@test()
def the_servers_own_ports_are_no_peers(net):
    """The listener, and the admin server behind it, cannot be reached through a relayed address."""
    server = start_server(net, {"admin": {"listen": [f"{net.v4('server')}:9478"]}})
    assert server.get("/healthz", host=net.v4("server"))[0] == 200
    client = Client(net, "alice", (net.v4("server"), PORT), USER, PASSWORD)
    client.allocate()
    for port in (PORT, 9478):
        code = code_of(client.bind_channel, 0x4001, net.v4("server"), port)
        assert code == 403, f"ChannelBind to our own port {port}: {code}"


def connect(client, host, port):
    client.authenticated(CONNECT, [(PEER, (host, port))])


@test()
def addresses_that_appear_later_are_no_peers(net):
    """Neither by TCP, at once, nor by UDP, after a few seconds; an interface that is down has addresses too."""
    server = start_server(net, {"relay": {"tcp": True}, "admin": {"listen": ["0.0.0.0:9478"]}})
    late, down = "23.21.99.7", "23.21.99.8"
    tcp = Client(net, "alice", (net.v4("server"), PORT), USER, PASSWORD, transport="tcp")
    tcp.authenticated(ALLOCATE, [(TRANSPORT, b"\x06\0\0\0")])
    udp = Client(net, "alice", (net.v4("server"), PORT), USER, PASSWORD)
    udp.allocate()
    assert code_of(udp.permit, late) == 0, "somebody else's address"
    net.ip("server", "addr", "add", f"{late}/32", "dev", "lo")
    try:
        net.ip("server", "link", "add", "idle", "type", "veth", "peer", "name", "idle-end")
        net.ip("server", "addr", "add", f"{down}/32", "dev", "idle")
        assert server.get("/healthz", host=late)[0] == 200, "this machine reaches itself there"
        for host in (late, down):
            code = code_of(connect, tcp, host, 9478)
            assert code == 403, f"Connect to our own {host}: {code}"
        server.wait_for("addresses of this machine have changed", seconds=12)
        end = time.monotonic() + 8
        while code_of(udp.permit, late) or code_of(udp.permit, down):
            if code_of(udp.permit, late) == code_of(udp.permit, down) == 403:
                break
            assert time.monotonic() < end, "permissions for our own addresses"
            time.sleep(0.1)
        assert code_of(udp.bind_channel, 0x4001, late, 9478) == 403
    finally:
        net.ip("server", "addr", "del", f"{late}/32", "dev", "lo")
        net.ip("server", "link", "del", "idle")
    server.wait_for(f'"went":"[^"]*{late}', seconds=12)
    assert code_of(udp.permit, late) == 0, "somebody else's again"


@test()
def an_allow_entry_opens_a_private_range_and_deny_wins(net):
    start_server(net, {"peers": {"allow": ["10.1.0.0/16"], "deny": ["10.1.9.0/24", "23.21.4.0/24"]}})
    client = Client(net, "alice", (net.v4("server"), PORT), USER, PASSWORD)
    client.allocate()
    assert code_of(client.permit, "10.1.2.3") == 0
    assert code_of(client.permit, "10.1.9.3") == 403
    assert code_of(client.permit, "10.2.0.1") == 403
    assert code_of(client.permit, net.v4("peer")) == 403


@test(coturn=True)
def data_flows_only_with_a_permission(net):
    """From a peer without a permission nothing arrives; with one, it does."""
    import socket
    start_server(net)
    client = Client(net, "alice", (net.v4("server"), PORT), USER, PASSWORD)
    relayed = client.allocate()
    with net.inside("peer"):
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with net.inside("bob"):
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.permit(net.v4("peer"))
    stranger.sendto(b"stranger", relayed)
    peer.sendto(b"friend", relayed)
    assert client.receive() == b"friend"
    try:
        late = client.receive(0.5)
    except TimeoutError:
        return
    raise AssertionError(f"{late!r} came through without a permission")
