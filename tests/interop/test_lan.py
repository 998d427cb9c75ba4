"""The trial for a local network, `relais --lan`: private addresses, a certificate that nobody vouches for, no strangers."""

import hashlib
import json
import re
import socket
import ssl

from harness import test
from lan import HTTP, HTTPS, join, start_trial, turn_of
from net import NAT_PUBLIC
from server import PORT, scratch
from turnclient import Client


def certificate(net, source, address):
    """The certificate of the HTTPS side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    with net.inside(source):
        connection = socket.create_connection((address, HTTPS), timeout=5)
    with context.wrap_socket(connection, server_hostname=address) as secure:
        shown = secure.getpeercert(True)
        secure.sendall(f"GET / HTTP/1.1\r\nHost: {address}:{HTTPS}\r\nConnection: close\r\n\r\n".encode())
        page = b""
        while more := secure.recv(65536):
            page += more
    assert page.startswith(b"HTTP/1.1 200") and b"<html" in page, page[:200]
    return shown


@test()
def lan_trial_carries_a_relay_only_call_between_private_addresses(net):
    """Two clients in 192.168.7.0/24 and a server there: relay to relay passes, and nothing else that is private."""
    address = net.v4("carol")
    start_trial(net, "carol")
    members = [join(net, "nat", address) for _ in range(2)]
    callers = []
    for _, welcome in members:
        turn = turn_of(welcome)
        assert f"turn:{address}:{PORT}?transport=udp" in turn["urls"], turn
        assert not any(url.startswith("turns:") for url in turn["urls"]), "no browser takes this certificate for a relay"
        callers.append(Client(net, "nat", (address, PORT), turn["username"], turn["credential"]))
    relayed = [caller.allocate() for caller in callers]
    assert all(host == address for host, _ in relayed), relayed
    for caller, other in zip(callers, reversed(relayed)):
        caller.bind_channel(0x4000, *other)
    for sender, receiver in (callers, callers[::-1]):
        sender.send_channel(0x4000, b"relayed")
        assert receiver.receive() == b"relayed"
    for neighbour in ("192.168.7.1", "192.168.7.99", "127.0.0.1", "10.0.0.1"):
        try:
            callers[0].permit(neighbour)
        except Exception as refusal:
            assert "403" in str(refusal), refusal
        else:
            raise AssertionError(f"{neighbour} may be reached")


@test()
def lan_trial_has_a_certificate_that_is_announced_and_kept(net):
    state = scratch() / "state"
    shown = []
    for _ in range(2):
        server = start_trial(net, "carol", STATE_DIRECTORY=str(state))
        url = f"https://{net.v4('carol')}:{HTTPS}/"
        assert url in server.stdout(), server.stdout()
        found = certificate(net, "nat", net.v4("carol"))
        fingerprint = re.search(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", server.stdout()).group()
        assert hashlib.sha256(found).hexdigest().upper() == fingerprint.replace(":", "")
        status, about = server.get("/v1/about", HTTP, net.v4("carol"), source="nat")
        assert (status, json.loads(about)) == (200, {"https": url, "trusted": False}), about
        shown.append(found)
        server.stop()
    assert shown[0] == shown[1], "browsers would ask again"


@test()
def lan_trial_does_not_serve_strangers(net):
    """On a machine with a public address, whoever is not in its networks gets neither rooms nor credentials."""
    server = start_trial(net, "nat")
    for path in ("/", "/v1/ice-servers", "/ws"):
        status, body = server.get(path, HTTP, NAT_PUBLIC, source="alice")
        assert status == 403 and "not_from_here" in body, (status, body)
    try:
        certificate(net, "alice", NAT_PUBLIC)
    except (ssl.SSLError, OSError):
        pass
    else:
        raise AssertionError("HTTPS is served to a stranger")
    assert server.get("/", HTTP, "192.168.7.1", source="carol")[0] == 200
