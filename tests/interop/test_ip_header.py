"""What the IP headers of relayed packets say (RFC 8656 §13-§16), and what ICMP says of them (§11.5), for every pair of
address families, seen on the wire."""

import contextlib
import os
import pathlib
import socket
import struct
import time

from harness import test
from server import PASSWORD, PORT, USER, start_server
from turnclient import DONT_FRAGMENT, Client

PAIRS = [(client, relay) for client in (4, 6) for relay in (4, 6)]
# Expedited forwarding with each value of ECN, then nothing: what one datagram has is not kept for the next.
TOS = (0xB8, 0xB9, 0xBA, 0xBB, 0)
CHANNEL = 0x4000
ETH_P_ALL = 3


class Wire:
    """The IP packets that arrive at a host."""

    def __init__(self, net, host):
        with net.inside(host):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.socket.bind(("eth0", ETH_P_ALL))

    def next(self, port, protocol=socket.IPPROTO_UDP, seconds=3.0):
        """(type of service, DF, payload) of the next packet to this port; DF is None for IPv6."""
        end = time.monotonic() + seconds
        while True:
            self.socket.settimeout(max(end - time.monotonic(), 0.001))
            packet, (_, _, kind, *_) = self.socket.recvfrom(65535)
            if kind == socket.PACKET_OUTGOING:
                continue
            if packet[0] >> 4 == 4:
                header, tos, whole, found = 4 * (packet[0] & 15), packet[1], bool(packet[6] & 0x40), packet[9]
            else:
                header, whole, found = 40, None, packet[6]
                tos = (packet[0] << 4 | packet[1] >> 4) & 0xFF
            body = packet[header:]
            if found == protocol and len(body) >= 8 and struct.unpack("!H", body[2:4])[0] == port:
                return tos, whole, body[8:]

    def forget(self):
        """Forgets what has arrived so far."""
        with contextlib.suppress(BlockingIOError):
            self.socket.settimeout(0)
            while True:
                self.socket.recv(65535)

    def close(self):
        self.socket.close()


def address(net, host, version):
    return net.v4(host) if version == 4 else net.v6(host)


def set_tos(sock, tos):
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)


class Pair:
    """A client at alice with an allocation, and a socket at peer that it has a permission for."""

    def __init__(self, net, client, relay, transport="udp", tos=0, bound=True):
        self.net = net
        self.host = address(net, "peer", relay)
        with net.inside("peer"):
            self.peer = socket.socket(socket.AF_INET if relay == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        self.peer.bind((self.host, 0))
        self.peer.settimeout(3)
        self.port = self.peer.getsockname()[1]
        server = (address(net, "server", client), PORT)
        self.client = Client(net, "alice", server, USER, PASSWORD, transport, tos=tos)
        self.relayed = self.client.allocate(family=1 if relay == 4 else 2)
        self.client.permit(self.host)
        if bound:
            self.client.bind_channel(CHANNEL, self.host, self.port)

    def send(self, payload, *more):
        self.client.send_to(self.host, self.port, payload, more)

    def close(self):
        self.client.close()
        self.peer.close()


@contextlib.contextmanager
def pairs(net, transport="udp", among=PAIRS, **options):
    """Every pair of families, one after the other in the block: an iterator."""
    def each():
        for client, relay in among:
            pair = Pair(net, client, relay, transport, **options)
            at_peer.forget()
            at_alice.forget()
            try:
                yield client, relay, pair
            finally:
                pair.close()
    at_peer, at_alice = Wire(net, "peer"), Wire(net, "alice")
    try:
        yield at_peer, at_alice, each()
    finally:
        at_peer.close()
        at_alice.close()


def talkative(net, *hosts):
    """The hosts send an ICMP error for each packet that deserves one."""
    for host in hosts:
        net.sysctl(host, "net.ipv4.icmp_ratelimit", 0)
        net.sysctl(host, "net.ipv6.icmp.ratelimit", 0)


@contextlib.contextmanager
def narrow_link(net, mtu):
    """The link from the router to the peer carries less than the others."""
    net.ip("router", "link", "set", "to-peer", "mtu", str(mtu))
    try:
        yield
    finally:
        net.ip("router", "link", "set", "to-peer", "mtu", "1500")
        net.ip("server", "route", "flush", "cache")
        net.ip("server", "-6", "route", "flush", "cache")


@test()
def dscp_and_ecn_are_copied_udp_to_udp(net):
    """For ChannelData, Send and Data, in both directions, across the families too; the next datagram is back at 0."""
    start_server(net)
    for bound in (True, False):
        with pairs(net, bound=bound) as (at_peer, at_alice, all_pairs):
            for client, relay, pair in all_pairs:
                for tos in TOS:
                    set_tos(pair.client.socket, tos)
                    if bound:
                        pair.client.send_channel(CHANNEL, b"x")
                    else:
                        pair.send(b"x")
                    seen = at_peer.next(pair.port)
                    assert (seen[0], seen[2]) == (tos, b"x"), f"IPv{client} to IPv{relay}, {tos:#x}: {seen}"
                    set_tos(pair.peer, tos)
                    pair.peer.sendto(b"y", pair.relayed)
                    seen = at_alice.next(pair.client.local[1])
                    assert seen[0] == tos, f"IPv{relay} to IPv{client}, {tos:#x}: {seen}"
                    assert pair.client.receive() == b"y"


@test()
def a_burst_of_different_marks_stays_in_order(net):
    start_server(net)
    with pairs(net, among=[(4, 4)]) as (at_peer, _, all_pairs):
        for _, _, pair in all_pairs:
            for i in range(48):
                set_tos(pair.client.socket, 4 * (i % 5))
                pair.send(bytes([i]), *[(DONT_FRAGMENT, b"")] * (i % 3 == 0))
            for i in range(48):
                assert at_peer.next(pair.port) == (4 * (i % 5), i % 3 == 0, bytes([i]))


@test()
def dscp_of_a_tcp_connection_and_no_ecn(net):
    """A TCP client's one DSCP goes to the peer, ECN does not; what the peer sends does not touch the connection."""
    start_server(net)
    for tos, expected in ((0xB8, 0xB8), (0, 0)):
        with pairs(net, "tcp", tos=tos) as (at_peer, at_alice, all_pairs):
            for client, relay, pair in all_pairs:
                for send in (lambda: pair.client.send_channel(CHANNEL, b"x"), lambda: pair.send(b"x")):
                    send()
                    seen = at_peer.next(pair.port)
                    assert (seen[0], seen[2]) == (expected, b"x"), f"IPv{client} to IPv{relay}: {seen}"
                set_tos(pair.peer, 0x2E)
                pair.peer.sendto(b"y", pair.relayed)
                assert pair.client.receive() == b"y"
                tos_seen = at_alice.next(pair.client.local[1], socket.IPPROTO_TCP)[0]
                assert tos_seen & 0xFC == 0, f"IPv{relay} to IPv{client}: {tos_seen:#x}"


@test()
def df_is_set_where_a_send_indication_asks_for_it(net):
    """And nowhere else: although Linux clients send DF=1 themselves, and right behind a datagram that had it."""
    start_server(net)
    for transport in ("udp", "tcp"):
        with pairs(net, transport) as (at_peer, at_alice, all_pairs):
            for client, relay, pair in all_pairs:
                # Each is longer than the one before: the wire between namespaces would show equal ones as one packet.
                pair.send(b"a", (DONT_FRAGMENT, b""))
                pair.send(b"bb")
                pair.client.send_channel(CHANNEL, b"ccc")
                seen = [at_peer.next(pair.port)[1:] for _ in range(3)]
                honoured = transport == "tcp" or (client, relay) == (4, 4)
                plain, whole = (None, None) if relay == 6 else (False, honoured)
                assert seen == [(whole, b"a"), (plain, b"bb"), (plain, b"ccc")], f"IPv{client} to IPv{relay}: {seen}"
                pair.peer.sendto(b"y", pair.relayed)
                if transport == "udp":
                    assert at_alice.next(pair.client.local[1])[1] == (False if client == 4 else None)
                assert pair.client.receive() == b"y"


@test()
def closed_ports_are_told_to_the_client_and_nothing_is_lost(net):
    """ICMP port unreachable becomes a Data indication; datagrams to others go on although the socket had an error."""
    talkative(net, "peer")
    start_server(net)
    for transport in ("udp", "tcp"):
        for client, relay in PAIRS:
            pair = Pair(net, client, relay, transport)
            expected = (3, 3) if relay == 4 else (1, 4)
            for number in range(3):
                pair.client.send_to(pair.host, 9, b"nobody")
                told = pair.client.receive_icmp()
                assert told == ((pair.host, 9), *expected, 0), told
                # Now with a channel to that very port.
                pair.client.bind_channel(CHANNEL + 1, pair.host, 9)
                for i in range(8):
                    pair.client.send_channel(CHANNEL + 1, b"nobody")
                    pair.send(bytes([number, i]))
                for i in range(8):
                    assert pair.peer.recv(100) == bytes([number, i])
                time.sleep(0.05)
            pair.peer.sendto(b"still here", pair.relayed)
            assert pair.client.receive() == b"still here"
            pair.close()


@test()
def fragmentation_needed_is_told_with_the_mtu(net):
    talkative(net, "router")
    start_server(net)
    for transport in ("udp", "tcp"):
        pair = Pair(net, 4, 4, transport)
        told = (pair.host, pair.port), 3, 4
        # Too long for the server's own link: this machine says what a router would.
        pair.send(bytes(1600), (DONT_FRAGMENT, b""))
        assert (found := pair.client.receive_icmp()) == (*told, 1500), found
        # Too long for a link on the way.
        with narrow_link(net, 1300):
            for _ in range(2):
                pair.send(bytes(1400), (DONT_FRAGMENT, b""))
                assert (found := pair.client.receive_icmp()) == (*told, 1300), found
            pair.send(bytes(1200), (DONT_FRAGMENT, b""))
            assert len(pair.peer.recv(2000)) == 1200
            # Without the attribute it is cut, by the server and by the router.
            for length in (1400, 4000):
                pair.send(bytes(length))
                assert len(pair.peer.recv(5000)) == length
        pair.close()


@test()
def packet_too_big_is_told_and_obeyed(net):
    """IPv6 has no routers that cut: the server learns the MTU of the path, and says it to the client."""
    start_server(net)
    talkative(net, "router")
    with narrow_link(net, 1300):
        for transport in ("udp", "tcp"):
            pair = Pair(net, 6, 6, transport)
            net.ip("server", "-6", "route", "flush", "cache")
            pair.send(bytes(1400))
            assert pair.client.receive_icmp() == ((pair.host, pair.port), 2, 0, 1300)
            pair.send(bytes(1400))
            assert len(pair.peer.recv(2000)) == 1400, "cut by the server now"
            if transport == "tcp":
                pair.send(bytes(1400), (DONT_FRAGMENT, b""))
                assert pair.client.receive_icmp() == ((pair.host, pair.port), 2, 0, 1300)
            pair.close()


@test()
def a_flood_of_forged_icmp_costs_little(net):
    """Anybody can send errors about packets that were never sent. They cost less than a tenth of a core, and bring the
    client no flood."""
    server = start_server(net, {"listen": {"workers": 1}})
    pair = Pair(net, 4, 4)
    inner_udp = struct.pack("!HHHH", pair.relayed[1], 9, 20, 0)
    inner_ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 17, 0,
                           socket.inet_aton(pair.relayed[0]), socket.inet_aton(pair.host))
    body = struct.pack("!BBHI", 3, 3, 0, 0) + inner_ip + inner_udp + bytes(12)
    total = sum(struct.unpack(f"!{len(body) // 2}H", body))
    total = (total >> 16) + (total & 0xFFFF)
    body = body[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + body[4:]
    with net.inside("bob"):
        forger = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)

    def cpu():
        fields = pathlib.Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, began, sent, arrived = cpu(), time.monotonic(), 0, 0
    while time.monotonic() < began + 3:
        # Few enough media between them that it is the errors whose cost is seen.
        for _ in range(1000):
            forger.sendto(body, (pair.relayed[0], 0))
            sent += 1
        pair.send(b"%d" % sent)
        assert pair.peer.recv(100) == b"%d" % sent, "media pass"
        arrived += 1
    seconds, used = time.monotonic() - began, cpu() - before
    told = 0
    with contextlib.suppress(TimeoutError):
        while True:
            pair.client.receive_icmp(0.2)
            told += 1
    print(f"{sent} forged in {seconds:.1f} s, {told} told, {arrived} datagrams relayed, {used:.2f} s of CPU")
    assert sent > 20_000 and arrived > 20
    assert 0 < told <= 32 * (seconds / 0.25 + 2), f"{told} told in {seconds:.1f} s"
    assert used <= 0.1 * seconds, f"{used:.2f} s of CPU in {seconds:.1f} s"
    pair.close()
