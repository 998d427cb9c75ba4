"""WebRTC libraries, relay only: aiortc, libnice in GStreamer's webrtcbin, pion, libjuice, werift."""

from harness import test
from libraries import aiortc, go_pion, libjuice, turn_url, webrtcbin, werift
from server import SECRET, start_server
from turnclient import rest_credentials


@test(400, coturn=True)
def aiortc_data_over_udp(net):
    start_server(net)
    aiortc(net, turn_url(net, "udp"))


@test(400, coturn=True)
def aiortc_data_over_tcp(net):
    start_server(net)
    aiortc(net, turn_url(net, "tcp"))


@test(coturn=True)
def libnice_data_over_udp(net):
    start_server(net)
    webrtcbin(net, "udp")


@test(coturn=True)
def libnice_data_over_tcp(net):
    start_server(net)
    webrtcbin(net, "tcp")


@test(450, coturn=True)
def pion_data_over_udp(net):
    start_server(net)
    go_pion(net, turn_url(net, "udp"))


@test(450, coturn=True)
def pion_data_over_tcp(net):
    start_server(net)
    go_pion(net, turn_url(net, "tcp"))


@test(coturn=True)
def libjuice_data_over_udp(net):
    """libjuice has no TURN over TCP."""
    start_server(net)
    libjuice(net)


@test(coturn=True)
def libjuice_with_a_time_limited_credential(net):
    """Its user name has a colon."""
    start_server(net, {"auth": {"users": []}})
    libjuice(net, *rest_credentials(SECRET, "carla"))


@test(coturn=True)
def werift_data_over_udp(net):
    start_server(net)
    werift(net, turn_url(net, "udp"))


@test(coturn=True)
def werift_data_over_tcp(net):
    start_server(net)
    werift(net, turn_url(net, "tcp"))
