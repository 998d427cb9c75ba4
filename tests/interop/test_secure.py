"""TLS: coturn's client and WebRTC libraries, which verify the certificate of the tests' own authority."""

from harness import test
from libraries import aiortc, go_pion, werift
from net import SERVER_NAME
from server import TLS_PORT, start_server, tls_settings
from test_uclient import PATIENT, PEER_PORT, STATIC, run_uclient, totals_of

SECURE = f"turns:{SERVER_NAME}:{TLS_PORT}?transport=tcp"


def secure_server(net, **more):
    settings, ca = tls_settings(net, **more)
    return start_server(net, PATIENT | settings), ca


@test(coturn=True)
def uclient_over_tls(net):
    """uclient loses many of its own messages over TLS, whatever the server: a fifth must come back, as sent."""
    _, ca = secure_server(net)
    net.spawn("peer", "turnutils_peer", "-L", net.v4("peer"), "-p", str(PEER_PORT))
    said = run_uclient(
        net, "alice", "-c", "-t", "-S", "-s", "-E", ca, "-e", net.v4("peer"), "-r", str(PEER_PORT), "-n", "200", "-z", "10", "-m", "1",
        "-l", "171", "-p", str(TLS_PORT), *STATIC, net.v4("server"))
    sent, received, _ = totals_of(said)
    assert sent == 200 and received >= 40, f"{received} of {sent} came back"


@test(400, coturn=True)
def aiortc_data_over_tls(net):
    _, ca = secure_server(net)
    aiortc(net, SECURE, ca)


@test(450, coturn=True)
def pion_data_over_tls(net):
    _, ca = secure_server(net)
    go_pion(net, SECURE, ca)


@test(coturn=True)
def werift_data_over_tls(net):
    _, ca = secure_server(net)
    werift(net, SECURE, ca)


@test(450)
def tls_and_tcp_share_port_443(net):
    """One listener, told apart by the first bytes: pion over TLS, werift over bare TCP, at the same time of one server."""
    settings, ca = tls_settings(net, more=(443,))
    place = f"{net.v4('server')}:443"
    settings["listen"]["tcp"] = [*settings["listen"]["tcp"], place, f"[{net.v6('server')}]:443"]
    start_server(net, settings)
    go_pion(net, f"turns:{SERVER_NAME}:443?transport=tcp", ca)
    werift(net, f"turn:{place}?transport=tcp")
    go_pion(net, f"turns:{SERVER_NAME}:{TLS_PORT}?transport=tcp", ca)
