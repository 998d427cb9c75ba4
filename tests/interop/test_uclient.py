"""coturn's command-line clients against the server."""

import functools
import os
import pathlib
import re
import tempfile
import time

import net as network
from harness import test
from server import PASSWORD, PORT, SECRET, USER, is_coturn, start_server

PEER_PORT = 3480
STATIC = ["-u", USER, "-w", PASSWORD]


def reflexive(net, host, server):
    out = net.exec(host, "timeout", "5", "turnutils_stunclient", "-p", str(PORT), server, timeout=20).stdout
    found = re.search(r"UDP reflexive addr: (\S+)", out)
    assert found, f"no reflexive address in {out!r}"
    return found.group(1)


@test(coturn=True)
def stunclient_sees_its_own_address(net):
    start_server(net)
    address = reflexive(net, "alice", net.v4("server"))
    assert address.rsplit(":", 1)[0] == net.v4("alice"), address


@test(coturn=True)
def stunclient_sees_its_own_ipv6_address(net):
    start_server(net)
    address = reflexive(net, "alice", net.v6("server"))
    assert net.v6("alice") in address, address


@test(coturn=True)
def stunclient_behind_nat_sees_the_nat(net):
    start_server(net)
    address = reflexive(net, "carol", net.v4("server"))
    assert address.rsplit(":", 1)[0] == network.NAT_PUBLIC, address


PATIENT = {"limits": {"allocations_per_user": 100000}}


@functools.cache
def dice():
    """A library that keeps uclient to channel numbers which RFC 8656 §12 has: of what it draws 3 in 4 are refused with 400."""
    folder = tempfile.TemporaryDirectory(prefix="relais-dice-")
    built = pathlib.Path(folder.name) / "dice.so"
    source = pathlib.Path(__file__).with_name("dice.c")
    network.run(["cc", "-shared", "-fPIC", "-o", str(built), str(source), "-ldl"])
    return folder, built


def run_uclient(net, host, *argv):
    """Runs uclient with loaded dice, and returns what it printed. It ends without a Refresh and leaves its allocations
    behind, so the server has to bear many of one user."""
    done = net.exec(host, "turnutils_uclient", *argv, timeout=60, env={**os.environ, "LD_PRELOAD": str(dice()[1])})
    return done.stdout + done.stderr


def totals_of(said):
    """(sent, received, lost); uclient exits 0 whatever happened, so only its totals count."""
    totals = re.findall(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)", said)
    lost = re.search(r"Total lost packets (\d+)", said)
    assert totals and lost, f"uclient gave no totals: {said[-600:]!r}"
    return int(totals[-1][0]), int(totals[-1][1]), int(lost.group(1))


def uclient(net, *flags, peer=None, server=None, messages=200, host="alice", pace=5):
    """Runs uclient against a peer that echoes, wants every message back, and returns (sent, received)."""
    peer = peer or net.v4("peer")
    net.spawn("peer", "turnutils_peer", "-L", peer, "-p", str(PEER_PORT))
    said = run_uclient(
        net, host, "-c", "-e", peer, "-r", str(PEER_PORT), "-n", str(messages),
        "-z", str(pace), "-m", "1", "-l", "171", "-p", str(PORT), *flags, server or net.v4("server"),
    )
    sent, received, lost = totals_of(said)
    assert sent == messages, f"uclient sent {sent} of {messages}"
    assert received == sent and lost == 0, f"{received} of {sent} came back, lost {lost}"
    assert "ERROR" not in said, said
    return sent, received


@test(coturn=True)
def uclient_udp_channels(net):
    start_server(net, PATIENT)
    uclient(net, *STATIC)


@test(coturn=True)
def uclient_udp_send_indications(net):
    start_server(net, PATIENT)
    uclient(net, "-s", *STATIC)


@test(coturn=True)
def uclient_udp_padded_channels(net):
    start_server(net, PATIENT)
    uclient(net, "-D", *STATIC)


@test(coturn=True)
def uclient_tcp_channels(net):
    start_server(net, PATIENT)
    uclient(net, "-t", *STATIC)


@test(coturn=True)
def uclient_tcp_send_indications(net):
    start_server(net, PATIENT)
    uclient(net, "-t", "-s", *STATIC)


@test(coturn=True)
def uclient_udp_time_limited_secret(net):
    start_server(net, PATIENT | {"auth": {"users": []}})
    uclient(net, "-u", "carla", "-W", SECRET)


@test(coturn=True)
def uclient_tcp_time_limited_secret(net):
    start_server(net, PATIENT | {"auth": {"users": []}})
    uclient(net, "-t", "-u", "carla", "-W", SECRET)


@test(coturn=True)
def uclient_ipv6_relay(net):
    start_server(net, PATIENT)
    uclient(net, "-x", *STATIC, peer=net.v6("peer"), server=net.v6("server"))


@test(coturn=True)
def uclient_ipv6_relay_for_an_ipv4_client(net):
    start_server(net, PATIENT)
    uclient(net, "-x", *STATIC, peer=net.v6("peer"))


@test(coturn=True)
def uclient_extra_requests(net):
    start_server(net, PATIENT)
    uclient(net, "-G", *STATIC)


@test(coturn=True)
def uclient_behind_nat(net):
    start_server(net, PATIENT)
    uclient(net, *STATIC, host="carol")


@test(coturn=True)
def uclient_client_to_client(net):
    """Two clients of one relay reach each other through their relayed addresses."""
    start_server(net, PATIENT)
    said = run_uclient(net, "alice", "-c", "-y", "-s", "-n", "100", "-z", "5", "-m", "2", "-p", str(PORT), *STATIC, net.v4("server"))
    sent, _, lost = totals_of(said)
    assert sent > 0 and lost == 0, f"lost {lost} of {sent}"


def both_ways(net, *flags, clients=2, messages=50, wanted=None):
    """Clients of one relay that send to each other (-y) by indications; nothing is lost. `wanted`: messages in all."""
    said = run_uclient(net, "alice", "-y", "-s", "-n", str(messages), "-z", "5", "-m", str(clients), "-l", "171",
                               "-p", str(PORT), *flags, *STATIC, net.v4("server"))
    sent, received, lost = totals_of(said)
    assert sent == received == (wanted or clients * messages) and lost == 0, f"{received} of {sent} came, lost {lost}"


@test(coturn=True)
def uclient_dual_allocation_over_udp(net):
    """An IPv4 and an IPv6 relayed address of one allocation, asked for with the draft's 0x8032."""
    start_server(net, PATIENT)
    both_ways(net, "-Z")


@test(coturn=True)
def uclient_dual_allocation_over_tcp(net):
    start_server(net, PATIENT)
    both_ways(net, "-Z", "-t")


@test(coturn=True)
def uclient_rtcp_flows_redeem_reservations(net):
    """Without -c each client asks for an even port and reserves the next, which its second allocation redeems."""
    server = start_server(net, PATIENT)
    both_ways(net, messages=30, wanted=120)
    if not is_coturn():
        metrics = server.metrics()
        assert metrics['relais_requests_total{transport="udp",method="allocate"}'] >= 4, metrics


@test(coturn=True)
def uclient_rtcp_flows_over_tcp(net):
    start_server(net, PATIENT)
    both_ways(net, "-t", messages=30, wanted=120)


@test()
def uclient_tcp_relays(net):
    """Clients of one relay that reach each other through TCP allocations (RFC 6062); every byte arrives."""
    server = start_server(net, PATIENT | {"relay": {"tcp": True}})
    done = net.exec("alice", "turnutils_uclient", "-T", "-n", "50", "-z", "5", "-m", "2", "-l", "171", "-p", str(PORT),
                    *STATIC, net.v4("server"), timeout=60)
    sent, received, lost = totals_of(done.stdout + done.stderr)
    assert sent == received > 0 and lost == 0, f"{received} of {sent} came, lost {lost}"
    metrics = server.metrics()
    for method in ("connect", "connection_bind"):
        assert metrics[f'relais_requests_total{{transport="tcp",method="{method}"}}'] > 0, metrics


@test(coturn=True)
def uclient_wrong_password_is_refused(net):
    start_server(net, PATIENT)
    done = net.exec("alice", "turnutils_uclient", "-c", "-y", "-n", "2", "-u", USER, "-w", "wrong", net.v4("server"), timeout=40)
    out = done.stdout + done.stderr
    assert re.search(r"(?i)cannot complete allocation|unauthorized|wrong credentials", out), out[-400:]
    assert not re.search(r"tot_recv_msgs=[1-9]", out), "data came through with a wrong password"


@test()
def metrics_count_what_uclient_sent(net):
    """The counters are not decoration: a known number of packets shows in /metrics."""
    server = start_server(net, PATIENT)
    sent, _ = uclient(net, *STATIC)
    metrics = server.metrics()

    def total(name, **labels):
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        series = [v for k, v in metrics.items() if k.split("{")[0] == name and all(w in k for w in wanted)]
        assert series, f"/metrics has no {name} with {labels}"
        return sum(series)

    for direction in ("to_peer", "to_client"):
        packets = total("relais_packets_total", direction=direction, transport="udp")
        assert sent <= packets <= sent + 20, f"{packets} packets {direction}, where uclient sent and got {sent}"
        volume = total("relais_bytes_total", direction=direction, transport="udp")
        assert sent * 171 <= volume <= packets * 171, f"{volume} bytes {direction} in {packets} packets of 171"
    assert total("relais_packets_total", transport="tcp") == 0
    assert total("relais_allocations_created_total", transport="udp") >= 1
    assert total("relais_requests_total", method="allocate") >= 1
    assert total("relais_errors_total", code="401") >= 1
