"""A certificate from an authority by itself: Let's Encrypt's test server pebble, which asks at port 443 as the real one does."""

import hashlib
import json
import socket
import ssl
import time

from certificates import authority, certificate
from harness import test
from net import SERVER_NAME
from server import clean_environment, scratch, start_server
from turnclient import Client

DIRECTORY, MANAGEMENT = 14000, 15000


class Pebble:
    """The authority, on the peer's machine. It is not there before `start`."""

    def __init__(self, net, seconds=None):
        self.net, self.folder, self.process = net, scratch(), None
        issuer = authority(self.folder)
        self.ca = issuer[0]
        place, key = certificate(self.folder, issuer, ("pebble.relais.example",), (net.v4("peer"),), "pebble")
        options = {
            "listenAddress": f"{net.v4('peer')}:{DIRECTORY}", "managementListenAddress": f"{net.v4('peer')}:{MANAGEMENT}",
            "certificate": str(place), "privateKey": str(key), "httpPort": 80, "tlsPort": 443, "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
        }
        if seconds:
            options["certificateValidityPeriod"] = seconds
        self.config = self.folder / "pebble.json"
        self.config.write_text(json.dumps({"pebble": options}))

    @property
    def directory(self):
        return f"https://{self.net.v4('peer')}:{DIRECTORY}/dir"

    def start(self):
        environment = clean_environment(PEBBLE_VA_NOSLEEP="1", PEBBLE_WFE_NONCEREJECT="0")
        with open(self.folder / "log", "ab") as log:
            self.process = self.net.spawn("peer", "pebble", "-config", str(self.config), stdout=log, stderr=log, env=environment)
        end = time.monotonic() + 10
        while True:
            try:
                with self.net.inside("peer"):
                    socket.create_connection((self.net.v4("peer"), MANAGEMENT), timeout=1).close()
                return self
            except OSError:
                assert time.monotonic() < end and self.process.poll() is None, (self.folder / "log").read_text()[-500:]
                time.sleep(0.05)

    def stop(self):
        self.process.kill()
        self.process.wait(5)

    def root(self):
        """A file with the root of what it issues, which is another one at each start."""
        context = ssl.create_default_context(cafile=self.ca)
        with self.net.inside("peer"):
            connection = socket.create_connection((self.net.v4("peer"), MANAGEMENT), timeout=5)
        with context.wrap_socket(connection, server_hostname=self.net.v4("peer")) as secure:
            secure.sendall(b"GET /roots/0 HTTP/1.0\r\nHost: pebble\r\n\r\n")
            answer = b""
            while more := secure.recv(65536):
                answer += more
        place = self.folder / "root.pem"
        place.write_bytes(answer.split(b"\r\n\r\n", 1)[1])
        return str(place)


def shown(net, root=None):
    """The fingerprint of what the server shows at port 443, verified if there is a root; `None`: it does not verify."""
    context = ssl.create_default_context(cafile=root) if root else ssl._create_unverified_context()
    with net.inside("alice"):
        connection = socket.create_connection((net.v4("server"), 443), timeout=5)
    try:
        with context.wrap_socket(connection, server_hostname=SERVER_NAME) as secure:
            return hashlib.sha256(secure.getpeercert(True)).hexdigest()
    except ssl.SSLCertVerificationError:
        return None


def within(seconds, what):
    """The first true answer of `what`, or its last."""
    end = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def settings(net, pebble, state):
    listen = [f"{net.v4('server')}:443"]
    order = {"domains": [SERVER_NAME], "contact": "mailto:admin@relais.example", "directory": pebble.directory, "ca_file": str(pebble.ca)}
    return {
        "listen": {"tls": listen},
        "tls": {"acme": order},
        "state": {"directory": str(state)},
        "http": {"listen": [f"{net.v4('server')}:8080"], "host": SERVER_NAME, "open": True},
    }


def about(server):
    return json.loads(server.get("/v1/about", 8080, server.net.v4("server"), source="alice")[1])


def has_turns(server):
    return "turns:" in server.get("/v1/ice-servers", 8080, server.net.v4("server"), source="alice")[1]


@test(120)
def acme_certificate_is_ordered_shown_and_kept(net):
    """Without the authority the server runs and asks again; with it, clients trust it; after a restart what is kept serves."""
    pebble, state = Pebble(net), scratch() / "state"
    server = start_server(net, settings(net, pebble, state))
    server.wait_for("no certificate from the authority")
    assert Client(net, "alice", (net.v4("server"), 3478)).binding()
    stand_in = shown(net)
    assert stand_in and about(server) == {"https": f"https://{SERVER_NAME}/", "trusted": False} and not has_turns(server)
    assert "relais_tls_certificate_expiry_timestamp_seconds" not in server.get("/metrics")[1]
    pebble.start()
    server.wait_for("the authority has issued a certificate", 40)
    root = pebble.root()
    first = within(5, lambda: shown(net, root))
    assert first and first != stand_in, server.stderr()[-500:]
    assert about(server)["trusted"] and has_turns(server)
    assert server.metrics()["relais_tls_certificate_expiry_timestamp_seconds"] > time.time()
    files = sorted(place.name.split("-")[1][:7] for place in state.iterdir())
    assert len(files) == 2 and "account" in files, files
    assert all(place.stat().st_mode & 0o777 == 0o600 for place in state.iterdir())
    server.stop()
    pebble.stop()
    start_server(net, settings(net, pebble, state))
    assert shown(net, root) == first


@test(120)
def acme_certificate_is_renewed_and_the_old_one_kept_while_that_fails(net):
    pebble, state = Pebble(net, seconds=9), scratch() / "state"
    pebble.start()
    server = start_server(net, settings(net, pebble, state))
    root = pebble.root()
    first = within(10, lambda: shown(net, root))
    assert first, server.stderr()[-500:]
    second = within(30, lambda: (found := shown(net, root)) and found != first and found)
    assert second, server.stderr()[-500:]
    pebble.stop()
    server.wait_for("no certificate from the authority", 30)
    assert shown(net) not in (None, first)


@test()
def acme_challenges_of_strangers_get_nothing(net):
    """A hello for acme-tls/1 with no order behind it ends, and so does one that offers more; nothing else is disturbed."""
    pebble = Pebble(net)
    server = start_server(net, settings(net, pebble, scratch() / "state"))
    for protocols in (["acme-tls/1"], ["acme-tls/1", "unknown"]):
        context = ssl._create_unverified_context()
        context.set_alpn_protocols(protocols)
        with net.inside("alice"):
            connection = socket.create_connection((net.v4("server"), 443), timeout=5)
        try:
            context.wrap_socket(connection, server_hostname=SERVER_NAME)
        except (ssl.SSLError, ConnectionError):
            continue
        raise AssertionError(f"{protocols} are taken")
    assert shown(net) and server.process.poll() is None
