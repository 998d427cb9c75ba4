"""A running server: how it stops, reloads, logs, counts, and keeps its secrets."""

import hashlib
import json
import pathlib
import re
import signal
import socket
import time

from harness import test
from server import PASSWORD, PORT, REALM, SECRET, USER, default_settings, merged, render, start_server
from turnclient import Client, TurnError, rest_credentials


def client(net, user=USER, password=PASSWORD, transport="udp", host="alice"):
    return Client(net, host, (net.v4("server"), PORT), user, password, transport)


def echo_peer(net):
    """A socket on the peer, and its address."""
    with net.inside("peer"):
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind((net.v4("peer"), 0))
    peer.settimeout(2)
    return peer, peer.getsockname()[1]


def relays(one, peer, relayed, port, payload):
    """One packet each way through a bound channel."""
    one.send_channel(0x4000, payload)
    got, back = peer.recvfrom(2048)
    assert got == payload and back == relayed, (got, back)
    peer.sendto(payload[::-1], relayed)
    assert one.receive() == payload[::-1]


def call(net, transport="udp"):
    """An allocation with a channel that has been used once: (client, peer, relayed address, port)."""
    one = client(net, transport=transport)
    relayed = one.allocate()
    peer, port = echo_peer(net)
    one.bind_channel(0x4000, net.v4("peer"), port)
    relays(one, peer, relayed, port, b"before")
    return one, peer, relayed, port


def fields(entry):
    """A log object with the fields of the event at its top."""
    return {**entry, **entry.get("fields", {})}


@test()
def sigterm_with_nothing_to_drain_ends_at_once(net):
    server = start_server(net)
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.process.wait(5) == 0, server.process.returncode
    assert time.monotonic() - began < 1, "idle, and still it took more than a second"


@test()
def sigterm_drains_running_calls_and_exits_0(net):
    server = start_server(net)
    one, peer, relayed, port = call(net)
    over_tcp = call(net, "tcp")
    server.signal(signal.SIGTERM)
    time.sleep(0.5)
    for number in range(20):
        relays(one, peer, relayed, port, b"draining %d" % number)
        relays(*over_tcp, b"draining %d" % number)
    one.refresh(600)
    try:
        client(net).allocate()
    except (TurnError, TimeoutError, OSError) as error:
        assert not isinstance(error, TurnError) or error.code in (300, 403, 508), error
    else:
        raise AssertionError("a draining server took a new allocation")
    assert server.process.poll() is None, "it ended with calls running"
    one.refresh(0)
    over_tcp[0].refresh(0)
    assert server.process.wait(2) == 0, server.process.returncode


@test()
def sigterm_ends_at_the_drain_deadline(net):
    server = start_server(net, {"limits": {"drain": "2s"}})
    call(net)
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.process.wait(6) == 0, server.process.returncode
    assert 1.5 < time.monotonic() - began < 4, f"after {time.monotonic() - began:.1f} s"


@test()
def a_second_sigterm_ends_now(net):
    server = start_server(net)
    call(net)
    server.signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.process.poll() is None
    server.signal(signal.SIGTERM)
    assert server.process.wait(2) is not None


@test()
def sighup_with_a_bad_file_keeps_the_old_settings_and_says_why(net):
    server = start_server(net)
    one, peer, relayed, port = call(net)
    server.config.write_text("[relay]\nprots = '1-2'\n")
    server.signal(signal.SIGHUP)
    server.wait_for(r"prots")
    assert server.process.poll() is None
    relays(one, peer, relayed, port, b"still here")
    client(net).allocate()


@test()
def sighup_takes_new_users_and_loses_no_call(net):
    server = start_server(net)
    one, peer, relayed, port = call(net)
    new = merged(default_settings(net), {"auth": {"users": [{"name": USER, "password": PASSWORD}, {"name": "nova", "password": "a new one 99"}]}})
    server.config.write_text(render(new))
    server.signal(signal.SIGHUP)
    end = time.monotonic() + 5
    while True:
        try:
            client(net, user="nova", password="a new one 99").allocate()
            break
        except TurnError as error:
            assert error.code == 401 and time.monotonic() < end, error
            time.sleep(0.1)
    relays(one, peer, relayed, port, b"still here")


def ends(server, user=USER):
    """The log's lines about allocations of a user that ended."""
    return [e for e in map(fields, server.log()) if "reason" in e and e.get("user") == user and "seconds" in e]


def wait_for_ends(server, count, seconds=5):
    end = time.monotonic() + seconds
    while len(ends(server)) < count and time.monotonic() < end:
        time.sleep(0.05)
    found = ends(server)
    assert len(found) == count, f"{len(found)} lines for {count} ends: {server.stderr()[-1200:]}"
    return found


@test()
def the_end_of_an_allocation_is_one_line_with_what_it_used(net):
    server = start_server(net)
    one, peer, relayed, port = call(net)
    for _ in range(10):
        relays(one, peer, relayed, port, b"x" * 100)
    one.refresh(0)
    line = wait_for_ends(server, 1)[0]
    assert "deleted" in line["reason"], line
    volumes = [v for k, v in line.items() if "bytes" in k]
    assert volumes == [1006, 1006], f"1006 bytes went each way: {line}"


@test()
def the_log_tells_a_closed_connection_from_a_stop(net):
    server = start_server(net, {"limits": {"drain": "1s"}})
    one = call(net, "tcp")[0]
    one.close()
    assert "closed" in wait_for_ends(server, 1)[0]["reason"]
    call(net)
    server.signal(signal.SIGTERM)
    server.process.wait(5)
    assert "stop" in wait_for_ends(server, 2)[1]["reason"]


@test()
def a_refused_login_says_why_in_the_log(net):
    """The client hears 401 and no more; the operator reads the cause."""
    server = start_server(net)
    late, password = rest_credentials(SECRET, "carla", lifetime=-60)
    for user, word, expected in ((USER, "wrong", r"password|credential|secret"), ("nobody-here", "x", r"unknown|no such"), (late, password, r"expired")):
        before = len(server.stderr())
        try:
            client(net, user=user, password=word).allocate()
        except TurnError as error:
            assert error.code == 401, error
        else:
            raise AssertionError(f"{user!r} got in")
        end = time.monotonic() + 3
        while not re.search(expected, server.stderr()[before:], re.I):
            assert time.monotonic() < end, f"for {user!r} the log has no {expected!r}: {server.stderr()[before:]!r}"
            time.sleep(0.05)
        assert net.v4("alice") in server.stderr()[before:], "the line does not say who asked"


@test()
def a_443_leaves_the_log_quiet(net):
    """Clients that have both families ask for peers of the one that the allocation lacks, all the time."""
    server = start_server(net)
    one = client(net)
    one.allocate()
    before = len(server.log())
    for _ in range(20):
        try:
            one.permit(net.v6("peer"))
        except TurnError as error:
            assert error.code == 443, error
    metrics = server.metrics()
    assert metrics['relais_errors_total{transport="udp",code="443"}'] == 20, metrics
    assert len(server.log()) == before, server.log()[before:]


@test()
def user_names_cannot_forge_log_lines(net):
    """A user name is the choice of whoever holds the secret's web page; it may hold anything."""
    evil = 'x\n{"level":"INFO","message":"forged"}\r\x1b[31mred\x7f\u202e'
    for form in ("json", "text"):
        server = start_server(net, {"log": {"format": form, "level": "debug"}})
        for user, password in (rest_credentials(SECRET, evil), (evil, "wrong")):
            one = client(net, user=user, password=password)
            try:
                one.allocate()
                one.refresh(0)
            except TurnError as error:
                assert error.code in (400, 401), error
        time.sleep(0.5)
        server.stop()
        text = server.stderr()
        for bad in ("\x1b", "\r", "\x7f", "\u202e"):
            assert bad not in text, f"{form}: {bad!r} is in the log"
        for line in text.splitlines():
            assert not line.startswith('{"level":"INFO","message":"forged"}'), f"{form}: forged line"
            if form == "json":
                json.loads(line)


@test()
def secrets_show_nowhere(net):
    server = start_server(net, {"log": {"format": "json", "level": "trace"}, "http": {"listen": ["127.0.0.1:8080"]}})
    call(net)[0].refresh(0)
    name, password = rest_credentials(SECRET, "carla")
    client(net, user=name, password=password).allocate()
    try:
        client(net, password="a guess that fails").allocate()
    except TurnError:
        pass
    time.sleep(0.3)
    metrics = server.get("/metrics")[1]
    places = {
        "the log": server.stderr(), "standard output": server.stdout(), "/metrics": metrics,
        "the command line": pathlib.Path(f"/proc/{server.pid}/cmdline").read_text(),
        "the environment": pathlib.Path(f"/proc/{server.pid}/environ").read_text(),
        "the health page": server.get("/healthz")[1] + server.get("/readyz")[1],
    }
    key = hashlib.md5(f"{USER}:{REALM}:{PASSWORD}".encode()).hexdigest()
    for place, text in places.items():
        for what in (PASSWORD, SECRET, password, key, "a guess that fails"):
            assert what not in text, f"{what!r} shows in {place}"
    for label in (USER, "carla", "8.34.2.10"):
        assert label not in metrics, f"{label!r} is a label in /metrics"


@test()
def health_pages_answer(net):
    server = start_server(net)
    assert server.get("/healthz")[0] == 200
    assert server.get("/readyz")[0] == 200
    assert server.get("/nothing-here")[0] == 404
    call(net)
    server.signal(signal.SIGTERM)
    time.sleep(0.4)
    assert server.get("/healthz")[0] == 200, "draining is not ill"
    assert server.get("/readyz")[0] == 503, "a draining server must not get new clients"


@test()
def ice_servers_go_to_loopback_and_not_to_others(net):
    server = start_server(net, {"http": {"listen": ["127.0.0.1:8080", f"{net.v4('server')}:8080"], "host": net.v4("server")}})
    status, body = server.get("/v1/ice-servers", port=8080)
    assert status == 200, (status, body)
    turn = next(e for e in json.loads(body)["iceServers"] if "credential" in e)
    for transport in ("udp", "tcp"):
        client(net, user=turn["username"], password=turn["credential"], transport=transport).allocate()
    status, body = server.get("/v1/ice-servers", port=8080, host=net.v4("server"), source="alice")
    assert status in (401, 403) and "credential" not in body.replace("credentials", ""), (status, body)


@test()
def it_opens_no_socket_that_was_not_written_down(net):
    server = start_server(net)
    listening = net.exec("server", "ss", "-Hlntu").stdout.splitlines()
    places = {(line.split()[0], line.split()[4]) for line in listening}
    four, six = f"{net.v4('server')}:{PORT}", f"[{net.v6('server')}]:{PORT}"
    assert places == {("udp", four), ("udp", six), ("tcp", four), ("tcp", six), ("tcp", "127.0.0.1:9478")}, places
    assert server.process.poll() is None
