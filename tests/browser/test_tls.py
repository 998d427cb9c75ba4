"""Browsers over TLS. They verify: the tests' own authority is in their NSS databases, and no flag weakens anything."""

import json

from calls import MEGABYTES_10, check_digests, check_relayed, ice, scenario, secure_ice
from harness import test
from net import SERVER_NAME, SERVER_NAME_V6
from server import binary, clean_environment, start_server, tls_settings

CHROMIUM = {"leftBrowser": "chromium", "rightBrowser": "chromium"}
FIREFOX = {"leftBrowser": "firefox", "rightBrowser": "firefox"}
MIXED = {"leftBrowser": "firefox", "rightBrowser": "chromium"}


def call(net, browsers, servers=None, **more):
    """A call with turns: alone."""
    settings, ca = tls_settings(net)
    server = start_server(net, settings)
    result = scenario(net, "call", left="alice", right="bob", iceServers=servers or secure_ice(), ca=ca, **browsers, **more)
    check_relayed(result, "tls")
    return server, result


@test(150, coturn=True)
def chromium_data_over_tls(net):
    _, result = call(net, CHROMIUM, bytes=MEGABYTES_10)
    check_digests(result, MEGABYTES_10)


@test(150, coturn=True)
def chromium_video_over_tls(net):
    _, result = call(net, CHROMIUM, video=60)
    assert all(side["framesDecoded"] >= 60 for side in result["stats"]), result["stats"]


@test(150, coturn=True)
def chromium_over_tls_and_ipv6(net):
    _, result = call(net, CHROMIUM, secure_ice(SERVER_NAME_V6), bytes=1024 * 1024)
    check_digests(result, 1024 * 1024)


@test(150, coturn=True)
def chromium_over_tls_to_an_ip_address_in_the_certificate(net):
    _, result = call(net, CHROMIUM, secure_ice(net.v4("server")), bytes=1024 * 1024)
    check_digests(result, 1024 * 1024)


@test(150, coturn=True)
def firefox_data_over_tls(net):
    _, result = call(net, FIREFOX, bytes=MEGABYTES_10)
    check_digests(result, MEGABYTES_10)


@test(150, coturn=True)
def firefox_video_over_tls(net):
    _, result = call(net, FIREFOX, video=60)
    assert all(side["framesDecoded"] >= 60 for side in result["stats"]), result["stats"]


@test(150, coturn=True)
def firefox_and_chromium_call_each_other_over_tls(net):
    _, result = call(net, MIXED, bytes=1024 * 1024, restart=1024 * 1024)
    check_digests(result, 1024 * 1024)


@test(120, coturn=True)
def browsers_refuse_a_certificate_that_nobody_they_know_has_signed(net):
    """The test of the tests: with the authority unknown, verification fails in both browsers."""
    settings, _ = tls_settings(net)
    start_server(net, settings)
    for browser in ("chromium", "firefox"):
        result = scenario(net, "gather", left="alice", leftBrowser=browser, iceServers=secure_ice())
        assert not result["candidates"], result


@test(120, coturn=True)
def browsers_refuse_a_certificate_for_another_name(net):
    settings, ca = tls_settings(net, names=("other.relais.example",))
    start_server(net, settings)
    for browser in ("chromium", "firefox"):
        result = scenario(net, "gather", left="alice", leftBrowser=browser, ca=ca, iceServers=secure_ice())
        assert not result["candidates"], result


@test(150)
def tls_and_tcp_share_port_443(net):
    """Where a firewall lets out 443 alone, one listener takes a call over TLS and one over bare TCP."""
    settings, ca = tls_settings(net, more=(443,))
    settings["listen"]["tcp"] = [f"{net.v4('server')}:443", f"[{net.v6('server')}]:443"]
    start_server(net, settings)
    for servers, transport in ((secure_ice(port=443), "tls"), (ice(net, "tcp", port=443), "tcp")):
        result = scenario(net, "call", left="alice", right="bob", iceServers=servers, ca=ca, bytes=1024 * 1024, **MIXED)
        check_relayed(result, transport)
        check_digests(result, 1024 * 1024)


def printed_servers(net, settings, host):
    """What `relais ice-servers` prints when `host` is the server's name."""
    server = start_server(net, settings | {"http": {"listen": [], "host": host}})
    done = net.exec("server", binary(), "ice-servers", "--config", str(server.config), timeout=10, env=clean_environment())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["iceServers"]


def secure_urls(server):
    urls = [server["urls"]] if isinstance(server["urls"], str) else server["urls"]
    return [url for url in urls if url.startswith("turns:")]


@test(150)
def browsers_use_the_turns_url_that_ice_servers_prints(net):
    settings, ca = tls_settings(net)
    servers = [server | {"urls": secure_urls(server)} for server in printed_servers(net, settings, SERVER_NAME) if secure_urls(server)]
    assert servers, "there is no turns: URL"
    result = scenario(net, "call", left="alice", right="bob", iceServers=servers, ca=ca, bytes=1024 * 1024, **MIXED)
    check_relayed(result, "tls")
    check_digests(result, 1024 * 1024)


@test(120)
def firefox_refuses_an_address_over_tls_and_ice_servers_gives_none(net):
    """The certificate names the address, and Chromium is content with that; Firefox sends no packet."""
    settings, ca = tls_settings(net)
    servers = printed_servers(net, settings, net.v4("server"))
    assert not [url for server in servers for url in secure_urls(server)], servers
    result = scenario(net, "gather", left="alice", leftBrowser="firefox", ca=ca, iceServers=secure_ice(net.v4("server")))
    assert not result["candidates"], result
