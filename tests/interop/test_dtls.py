"""TURN over DTLS with clients on OpenSSL: coturn's uclient, and openssl itself, which verifies the certificate."""

import re

import net as network
from harness import test
from server import TLS_PORT, start_server, tls_settings
from test_uclient import PATIENT, STATIC, uclient
from turnclient import BINDING, MAPPED, decode, encode


def dtls_settings(net, shared=False):
    """Settings for DTLS, at the ports of UDP if `shared`, and the file of the authority."""
    settings, authority = tls_settings(net)
    listen = settings["listen"]
    listen["dtls"] = listen["udp"] if shared else listen["tls"]
    del listen["tls"]
    return settings | PATIENT, authority


@test(coturn=True)
def uclient_dtls_channels(net):
    settings, authority = dtls_settings(net)
    start_server(net, settings)
    uclient(net, "-S", "-E", authority, "-p", str(TLS_PORT), *STATIC)


@test(coturn=True)
def uclient_dtls_send_indications(net):
    settings, _ = dtls_settings(net)
    start_server(net, settings)
    uclient(net, "-S", "-s", "-p", str(TLS_PORT), *STATIC)


@test(coturn=True)
def uclient_dtls_over_ipv6_and_behind_nat(net):
    settings, _ = dtls_settings(net)
    start_server(net, settings)
    uclient(net, "-S", "-s", "-p", str(TLS_PORT), *STATIC, server=net.v6("server"))
    uclient(net, "-S", "-s", "-p", str(TLS_PORT), *STATIC, host="carol")


@test()
def one_port_serves_uclient_over_udp_and_dtls(net):
    settings, _ = dtls_settings(net, shared=True)
    server = start_server(net, settings)
    uclient(net, "-s", *STATIC)
    uclient(net, "-S", "-s", *STATIC)
    metrics = server.metrics()
    for transport in ("udp", "dtls"):
        made = metrics[f'relais_allocations_created_total{{transport="{transport}"}}']
        assert made >= 1, f"{made} allocations over {transport}"


def binding_by_openssl(net, server, port, authority, *flags, name=network.SERVER_NAME):
    """Sends a Binding request by `openssl s_client` and returns what it heard and what it said of the connection."""
    request = encode(BINDING, [], b"abcdefghijkl")
    octal = "".join(f"\\{byte:03o}" for byte in request)
    place = f"[{server}]:{port}" if ":" in server else f"{server}:{port}"
    trust = f"-CAfile {authority} -verify_return_error -servername {name} -verify_hostname {name}"
    command = f"(printf '{octal}'; sleep 2) | timeout 4 openssl s_client -dtls1_2 -connect {place} {trust} {' '.join(flags)}"
    done = net.exec("alice", "sh", "-c", f"{command} | od -An -v -tx1", timeout=20)
    return bytes.fromhex("".join(done.stdout.split())), done.stderr


@test(coturn=True)
def openssl_verifies_the_certificate_and_is_answered(net):
    settings, authority = dtls_settings(net)
    start_server(net, settings)
    for server in (net.v4("server"), net.v6("server")):
        heard, said = binding_by_openssl(net, server, TLS_PORT, authority, "-quiet")
        assert heard, f"no answer from {server}: {said[-600:]}"
        kind, transaction, found = decode(heard)
        assert (kind, transaction) == (0x0101, b"abcdefghijkl") and MAPPED in found, heard.hex()
    heard, said = binding_by_openssl(net, net.v4("server"), TLS_PORT, authority, "-quiet", name="other.example")
    assert not heard and "mismatch" in said, f"the name was not checked: {said[-600:]}"


@test()
def openssl_gets_only_what_is_safe(net):
    """Suites with forward secrecy and AEAD, our own protocols, DTLS 1.2."""
    settings, authority = dtls_settings(net)
    start_server(net, settings)
    for suites, wanted in (
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True), ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("ECDHE-ECDSA-AES128-SHA256", False), ("ECDHE-ECDSA-AES128-SHA", False),
    ):
        heard, said = binding_by_openssl(net, net.v4("server"), TLS_PORT, authority, "-quiet", "-cipher", suites)
        assert bool(heard) == wanted, f"{suites}: {said[-400:]}"
    for protocols, wanted in (("stun.turn", True), ("h2,stun.nat-discovery", True), ("http/1.1", False)):
        heard, said = binding_by_openssl(net, net.v4("server"), TLS_PORT, authority, "-quiet", "-alpn", protocols)
        assert bool(heard) == wanted, f"{protocols}: {said[-400:]}"
    # A client that insists on DTLS 1.0 is refused.
    command = f"timeout 10 openssl s_client -dtls1 -cipher ALL:@SECLEVEL=0 -connect {net.v4('server')}:{TLS_PORT} </dev/null"
    done = net.exec("alice", "sh", "-c", command, timeout=20)
    assert re.search(r"protocol version", done.stdout + done.stderr), (done.stdout + done.stderr)[-400:]
