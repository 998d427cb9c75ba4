"""Headless Firefox (Debian's ESR): calls between two of them, and with Chromium, through the server."""

from calls import MEGABYTES_10, check_digests, check_relayed, check_restart, ice, scenario
from harness import test
from server import start_server

TWO = {"leftBrowser": "firefox", "rightBrowser": "firefox"}


def call(net, transport="udp", browsers=TWO, **more):
    result = scenario(net, "call", left="alice", right="bob", iceServers=ice(net, transport), **browsers, **more)
    check_relayed(result, transport)
    return result


def successes(server, method):
    """How many requests of a method have succeeded."""
    return sum(v for k, v in server.metrics().items() if k.startswith("relais_requests_total{") and f'method="{method}"' in k)


def check_only_indications(server):
    """Firefox never binds a channel: every packet of it is a Send or Data indication."""
    assert successes(server, "allocate") >= 2 and successes(server, "create_permission") >= 2, server.metrics()
    assert successes(server, "channel_bind") == 0, "Firefox has bound a channel: then indications are not the only path any more"


def data(net, transport):
    server = start_server(net)
    check_digests(call(net, transport, bytes=MEGABYTES_10), MEGABYTES_10)
    check_only_indications(server)


def video(net, transport):
    server = start_server(net)
    for side in call(net, transport, video=60)["stats"]:
        assert side["framesDecoded"] >= 60, side
    check_only_indications(server)


@test(150)
def firefox_data_over_udp(net):
    data(net, "udp")


@test(150)
def firefox_data_over_tcp(net):
    data(net, "tcp")


@test(150)
def firefox_video_over_udp(net):
    video(net, "udp")


@test(150)
def firefox_video_over_tcp(net):
    video(net, "tcp")


@test(150)
def firefox_and_chromium_call_each_other_over_udp(net):
    """ChannelData on one side, indications on the other."""
    server = start_server(net)
    mixed = {"leftBrowser": "chromium", "rightBrowser": "firefox"}
    result = call(net, "udp", mixed, bytes=1024 * 1024, video=30)
    check_digests(result, 1024 * 1024)
    assert all(side["framesDecoded"] >= 30 for side in result["stats"]), result["stats"]
    assert successes(server, "channel_bind") >= 1


@test(150)
def firefox_behind_nat_calls_chromium_over_tcp(net):
    start_server(net)
    mixed = {"leftBrowser": "firefox", "rightBrowser": "chromium"}
    result = scenario(net, "call", left="carol", right="bob", bytes=1024 * 1024, iceServers=ice(net, "tcp"), **mixed)
    check_relayed(result, "tcp")
    check_digests(result, 1024 * 1024)


@test(150)
def firefox_restarts_ice(net):
    start_server(net)
    result = call(net, bytes=1024 * 1024, restart=1024 * 1024)
    check_restart(result)
