"""Two callers behind relays of one server: their datagrams need no socket between the two allocations."""

import time

from harness import test
from server import PASSWORD, PORT, USER, start_server
from test_policy import code_of
from turnclient import Client

PAYLOADS = [bytes([i]) * length for i, length in enumerate((0, 1, 3, 160, 1200, 1200, 1400, 2000))]


def clients(net, count, transports=("udp",)):
    """Clients from several source ports, so that the kernel spreads them over the workers."""
    return [Client(net, ("alice", "bob")[i % 2], (net.v4("server"), PORT), USER, PASSWORD, transports[i % len(transports)])
            for i in range(count)]


def datagrams_in(net):
    """How many UDP datagrams the server's machine has received."""
    lines = [line.split() for line in net.exec("server", "cat", "/proc/net/snmp").stdout.splitlines() if line.startswith("Udp:")]
    return int(dict(zip(*lines))["InDatagrams"])


def wait_for(what, seconds=3):
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not (true := what()) and time.monotonic() < end:
        time.sleep(0.02)
    return true


def ring(net, callers):
    """Each caller talks to the next one by channel, and back."""
    addresses = [caller.allocate() for caller in callers]
    for i, caller in enumerate(callers):
        after = (i + 1) % len(callers)
        caller.bind_channel(0x4000, *addresses[after])
        callers[after].permit(addresses[i][0])
    return addresses


def talk_in_a_ring(net, workers, transports=("udp",)):
    start_server(net, {"listen": {"workers": workers}, "limits": {"allocations_per_user": 100}})
    callers = clients(net, 8, transports)
    ring(net, callers)
    before = datagrams_in(net)
    for i, caller in enumerate(callers):
        for payload in PAYLOADS:
            caller.send_channel(0x4000, payload)
            assert callers[(i + 1) % 8].receive() == payload
    if transports == ("udp",):
        sent = len(callers) * len(PAYLOADS)
        came = datagrams_in(net) - before
        assert came == sent, f"{came} datagrams for {sent} sent: none comes back by a relay socket"


@test()
def relay_to_relay_data_go_from_allocation_to_allocation(net):
    talk_in_a_ring(net, 1)


@test()
def relay_to_relay_data_cross_workers(net):
    talk_in_a_ring(net, 4)


@test()
def relay_to_relay_data_between_udp_and_tcp_clients(net):
    talk_in_a_ring(net, 3, ("udp", "tcp"))


@test()
def relay_to_relay_data_need_permissions_of_both_sides(net):
    """Permission, policy and counters are those of the way by the sockets."""
    server = start_server(net, {"listen": {"workers": 4}, "limits": {"allocations_per_user": 100}})
    callers = clients(net, 4)
    addresses = [caller.allocate() for caller in callers]
    refused = 'relais_drops_total{transport="udp",reason="no_permission"}'
    for i, caller in enumerate(callers):
        other, to = callers[(i + 1) % 4], addresses[(i + 1) % 4]
        caller.permit(to[0])
        if i == 0:
            # All have the same relayed address and other ports, so the last one permits all of them for itself alone.
            caller.send_to(*to, b"too early")
            assert wait_for(lambda: server.metrics()[refused] == 1), "it is dropped"
            other.permit(addresses[i][0])
        elif i < 3:
            other.permit(addresses[i][0])
        caller.send_to(*to, b"heard")
        assert other.receive() == b"heard"
    to_clients = server.metrics()['relais_bytes_total{transport="udp",direction="to_client"}']
    assert to_clients == 4 * len(b"heard"), to_clients
    free = min(set(range(49152, 65535)) - {port for _, port in addresses})
    assert (code := code_of(callers[0].bind_channel, 0x4001, addresses[0][0], free)) == 403, code
    callers[1].refresh(0)
    callers[0].send_to(*addresses[1], b"nobody")
    callers[2].send_to(*addresses[3], b"somebody")
    assert callers[3].receive() == b"somebody"
