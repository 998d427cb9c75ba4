"""The trial for a local network, `relais --lan`, and a member of its open room."""

import base64
import json
import os
import socket

from server import clean_environment, launch, wait_ready

HTTP, HTTPS = 8080, 8443


def start_trial(net, host, **environment):
    server = launch(net, ["--lan"], host=host, env=clean_environment(**environment))
    wait_ready(server)
    server.wait_for("Clients from elsewhere", text=server.stdout)
    return server


def frame(stream):
    """The text of the next WebSocket frame, which the server does not mask."""
    first = stream.read(2)
    length = first[1]
    if length == 126:
        length = int.from_bytes(stream.read(2), "big")
    return stream.read(length).decode()


def join(net, source, address):
    """Joins the open room over plain HTTP, as the page does, and returns the socket and what it is welcomed with."""
    with net.inside(source):
        connection = socket.create_connection((address, HTTP), timeout=5)
    stream = connection.makefile("rwb")
    stream.write(f"GET /ws HTTP/1.1\r\nHost: {address}:{HTTP}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n".encode())
    stream.flush()
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += stream.readline()
    assert b" 101 " in head, head
    said = json.dumps({"join": {}}).encode()
    # A mask of zeros masks nothing.
    stream.write(bytes([0x81, 0x80 | len(said)]) + bytes(4) + said)
    stream.flush()
    return stream, json.loads(frame(stream))["welcome"]


def turn_of(welcome):
    """The entry of iceServers with a credential."""
    entries = welcome["iceServers"] if isinstance(welcome["iceServers"], list) else welcome["iceServers"]["iceServers"]
    return next(entry for entry in entries if "credential" in entry)
