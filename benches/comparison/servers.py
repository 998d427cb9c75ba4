"""The servers that are compared: ours and Debian's coturn, each with one relay thread on the relay's core."""

import os
import subprocess
import time

from .network import LISTEN, PEER, RELAY, RELAY_CORE, Failure

USER = "alice"
PASSWORD = "wonderland"

CONFIGURATION = f"""
[listen]
udp = ["{LISTEN}:3478"]
tcp = ["{LISTEN}:3478"]
tls = ["{LISTEN}:5349"]
workers = 1
[tls]
certificate = "certificate.pem"
key = "key.pem"
[relay]
addresses = ["{RELAY}"]
ports = "10000-65535"
[auth]
users = [{{ name = "{USER}", password = "{PASSWORD}" }}]
[peers]
allow = ["{PEER}", "{RELAY}"]
[limits]
allocations_per_user = 50000
streams_per_address = 20000
[http]
listen = []
[admin]
listen = []
[log]
level = "error"
"""


class Server:
    """A server that runs in the relay's namespace until `stop`."""

    def __init__(self, network, command, directory):
        self._log = open(os.path.join(directory, "server.log"), "w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            network.command(network.relay, RELAY_CORE, *command),
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, cwd=directory)
        self.pid = self._process.pid
        self._await(network)

    def _await(self, network):
        """Waits until the server listens on UDP and TCP."""
        for _ in range(100):
            time.sleep(0.05)
            if self._process.poll() is not None:
                self._log.seek(0)
                raise Failure(f"the server {' '.join(self._process.args[10:])} ended at once: {self._log.read().strip()}")
            sockets = network.run(network.relay, "ss", "-Hnltu")
            if sockets.count(f"{LISTEN}:3478") >= 2:
                return
        raise Failure(f"the server {' '.join(self._process.args[10:])} does not listen on {LISTEN}:3478")

    def stop(self):
        """Ends the server and waits for it."""
        self._process.kill()
        self._process.wait()
        self._log.close()


class Servers:
    """Starts the servers, whose files are in `directory`."""

    def __init__(self, network, relais, directory):
        self._network = network
        self._relais = os.path.abspath(relais)
        self._directory = directory
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=turn.test", "-addext", f"subjectAltName=IP:{LISTEN}",
                        "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "certificate.pem"],
                       cwd=directory, check=True, capture_output=True)
        self.certificate = os.path.join(directory, "certificate.pem")
        with open(os.path.join(directory, "relais.toml"), "w", encoding="utf-8", opener=_private) as file:
            file.write(CONFIGURATION)

    def relais(self):
        """Ours, as it is configured for one core."""
        return Server(self._network, [self._relais, "serve", "--config", "relais.toml"], self._directory)

    def coturn(self):
        """Debian's coturn with one relay thread; where it has a choice, its default."""
        return Server(self._network, [
            "turnserver", "-n", "-L", LISTEN, "-E", RELAY, "--lt-cred-mech", "-u", f"{USER}:{PASSWORD}", "-r", "relais",
            "--min-port", "10000", "--max-port", "65535", "--no-cli", "--no-dtls", "--cert", "certificate.pem", "--pkey",
            "key.pem", "-m", "1", "--pidfile", "turnserver.pid", "--log-file", os.devnull], self._directory)


def _private(path, flags):
    return os.open(path, flags, 0o600)
