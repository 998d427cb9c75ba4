"""Two headless Chromium, each in its own namespace, calling each other through the server."""

import json

from calls import MEGABYTES_10, check_digests, check_relayed, check_restart, ice, scenario
from harness import test
from net import NAT_PUBLIC
from server import PORT, SECRET, binary, clean_environment, start_server


def transfer(net, transport):
    result = scenario(net, "call", left="alice", right="bob", bytes=MEGABYTES_10, iceServers=ice(net, transport))
    check_relayed(result, transport)
    check_digests(result, MEGABYTES_10)


def video(net, transport):
    result = scenario(net, "call", left="alice", right="bob", video=60, iceServers=ice(net, transport))
    check_relayed(result, transport)
    for side in result["stats"]:
        assert side["framesDecoded"] >= 60, side


@test(150, coturn=True)
def chromium_data_over_udp(net):
    start_server(net)
    transfer(net, "udp")


@test(150, coturn=True)
def chromium_data_over_tcp(net):
    start_server(net)
    transfer(net, "tcp")


@test(150, coturn=True)
def chromium_video_over_udp(net):
    start_server(net)
    video(net, "udp")


@test(150, coturn=True)
def chromium_video_over_tcp(net):
    start_server(net)
    video(net, "tcp")


@test(150, coturn=True)
def chromium_restarts_ice(net):
    start_server(net)
    result = scenario(net, "call", left="alice", right="bob", bytes=1024 * 1024, restart=1024 * 1024, iceServers=ice(net))
    check_relayed(result, "udp")
    check_restart(result)


@test(150, coturn=True)
def chromium_over_ipv6_to_the_server(net):
    """Chromium asks for no address family, so its relayed address is an IPv4 one (RFC 8656 §7.1)."""
    start_server(net)
    servers = ice(net)
    servers[0]["urls"] = f"turn:[{net.v6('server')}]:{PORT}?transport=udp"
    result = scenario(net, "call", left="alice", right="bob", bytes=1024 * 1024, iceServers=servers)
    check_relayed(result, "udp")
    check_digests(result, 1024 * 1024)


@test(150, coturn=True)
def chromium_behind_nat_calls_through_the_relay(net):
    start_server(net)
    result = scenario(net, "call", left="carol", right="bob", bytes=1024 * 1024, iceServers=ice(net))
    check_relayed(result, "udp")
    assert result["gotRight"]["sha256"] == result["sentLeft"]


@test(120, coturn=True)
def chromium_behind_nat_finds_its_public_address(net):
    start_server(net)
    result = scenario(net, "gather", left="carol", policy="all", iceServers=[{"urls": f"stun:{net.v4('server')}:{PORT}"}])
    reflexive = [c for c in result["candidates"] if " typ srflx " in c]
    assert reflexive and all(c.split()[4] == NAT_PUBLIC for c in reflexive), result


@test(120, coturn=True)
def chromium_with_a_wrong_password_gets_401(net):
    start_server(net)
    for transport in ("udp", "tcp"):
        result = scenario(net, "gather", left="alice", iceServers=ice(net, transport, password="wrong"))
        assert not result["candidates"], result
        assert 401 in [e["code"] for e in result["errors"]], result


@test(150)
def chromium_uses_what_ice_servers_prints(net):
    """The output of `relais ice-servers` goes into RTCPeerConnection as it is."""
    server = start_server(net, {"auth": {"users": []}, "http": {"listen": [], "host": net.v4("server")}})
    done = net.exec("server", binary(), "ice-servers", "--config", str(server.config), timeout=10, env=clean_environment())
    assert done.returncode == 0, done.stderr
    servers = json.loads(done.stdout)["iceServers"]
    assert SECRET not in done.stdout
    result = scenario(net, "call", left="alice", right="bob", bytes=1024 * 1024, iceServers=servers)
    assert result["states"] == ["connected", "connected"], result
    assert all(side["local"] == side["remote"] == "relay" for side in result["stats"]), result
    assert result["gotRight"]["sha256"] == result["sentLeft"]


# The trial page that the server brings, over plain HTTP and from another machine: no camera, no secure context.


def trial_server(net):
    server = start_server(net, {"http": {"listen": [f"{net.v4('server')}:8080"], "rooms": "open", "open": True}})
    return server, f"http://{net.v4('server')}:8080/"


def harmless(complaint):
    """Browsers ask for an icon by themselves."""
    return "favicon" in complaint


def trial_call(net, transport):
    _, url = trial_server(net)
    result = scenario(net, "trialCall", left="alice", right="bob", url=url, transport=transport, video=20, bytes=10_000_000, seconds=120)
    for side in result["stats"]:
        assert side and side["pair"]["local"] == side["pair"]["remote"] == "relay", result["stats"]
        assert side["pair"]["relayProtocol"] == transport, side
        assert side["framesDecoded"] >= 20, side
    for sent in result["transfers"]:
        assert sent["ok"] and sent["bytes"] == 10_000_000, sent
    assert result["messages"] == [{"who": "Alice", "text": "hello over there"}], result["messages"]
    assert not [c for c in result["complaints"] if not harmless(c)], result["complaints"]


@test(180)
def trial_page_calls_over_udp(net):
    trial_call(net, "udp")


@test(180)
def trial_page_calls_over_tcp(net):
    trial_call(net, "tcp")
