"""Starts the server under test, and asks it things.

`RELAIS` names the binary; without it the checkout's release build is used. `RELAIS=coturn` starts
Debian's turnserver instead: the tests that speak nothing but STUN and TURN must pass against it too,
which tells a fault of a test from a fault of the server.
"""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

from certificates import authority, certificate
from net import SERVER_NAME, SERVER_NAME_V6

ROOT = pathlib.Path(__file__).resolve().parents[2]
USER, PASSWORD, SECRET, REALM = "alice", "correct horse 4 battery", "north-south-east-west-0123456789", "relais"
PORT, TLS_PORT = 3478, 5349


def binary():
    return os.environ.get("RELAIS") or str(ROOT / "target/release/relais")


def is_coturn():
    return binary() == "coturn"


def toml(value):
    """A TOML value; strings, numbers, booleans, lists and inline tables are all that is needed."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return "{ " + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + " }"


def default_settings(net):
    four, six = net.v4("server"), net.v6("server")
    places = [f"{four}:{PORT}", f"[{six}]:{PORT}"]
    return {
        "listen": {"udp": places, "tcp": places},
        "relay": {"addresses": [four, six]},
        "auth": {
            "realm": REALM,
            "users": [{"name": USER, "password": PASSWORD}],
            "secrets": [{"name": "test", "secret": SECRET}],
        },
        "http": {"listen": []},
        "admin": {"listen": ["127.0.0.1:9478"]},
        "log": {"format": "json"},
    }


def tls_settings(net, names=(SERVER_NAME, SERVER_NAME_V6), more=()):
    """Settings for TLS with a new certificate, also at the ports of `more`, and the file of its authority."""
    folder = scratch()
    issuer = authority(folder)
    place, key = certificate(folder, issuer, names, (net.v4("server"), net.v6("server")))
    ports = [f"{host}:{port}" for port in (TLS_PORT, *more) for host in (net.v4("server"), f"[{net.v6('server')}]")]
    listen = default_settings(net)["listen"] | {"tls": ports}
    return {"listen": listen, "tls": {"certificate": str(place), "key": str(key)}}, str(issuer[0])


def merged(base, changes):
    out = {section: dict(keys) for section, keys in base.items()}
    for section, keys in changes.items():
        out.setdefault(section, {}).update(keys)
    return out


def render(settings):
    lines = []
    for section, keys in settings.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {toml(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


class Server:
    """A running server process and what it has said so far."""

    def __init__(self, net, process, folder, config):
        self.net, self.process, self.folder, self.config = net, process, folder, config

    @property
    def pid(self):
        return self.process.pid

    def stderr(self):
        return (self.folder / "stderr").read_text(errors="replace")

    def stdout(self):
        return (self.folder / "stdout").read_text(errors="replace")

    def log(self):
        """The JSON log, one object a line."""
        return [json.loads(line) for line in self.stderr().splitlines() if line.strip()]

    def wait_for(self, pattern, seconds=5.0, text=None):
        """Waits until the log has a line that matches, and returns the match."""
        end = time.monotonic() + seconds
        while True:
            found = re.search(pattern, (text or self.stderr)())
            if found:
                return found
            if time.monotonic() > end:
                raise AssertionError(f"the log has no {pattern!r} after {seconds} s: {self.stderr()[-800:]!r}")
            time.sleep(0.02)

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, seconds=10):
        """Ends the server now (two SIGTERM: the second does not wait for allocations)."""
        for _ in range(2):
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
                try:
                    self.process.wait(0.3)
                except subprocess.TimeoutExpired:
                    pass
        try:
            self.process.wait(seconds)
        finally:
            if self.process.poll() is None:
                self.process.kill()
        return self.process.returncode

    def rss(self):
        """Resident memory in bytes."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    def get(self, path, port=9478, host="127.0.0.1", headers=None, source="server"):
        """GET over HTTP from a host (the server's own, unless told): (status, body)."""
        with self.net.inside(source):
            connection = http.client.HTTPConnection(host, port, timeout=5)
            connection.connect()
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()

    def metrics(self):
        """Every series of /metrics: {name with labels: number}."""
        status, body = self.get("/metrics")
        assert status == 200, f"/metrics answers {status}"
        rows = (line.rsplit(" ", 1) for line in body.splitlines() if line and not line.startswith("#"))
        return {name: float(number) for name, number in rows}


FOLDERS = []


def scratch():
    """A folder for one server; removed after the test."""
    FOLDERS.append(pathlib.Path(tempfile.mkdtemp(prefix=f"relais-test-{os.getpid()}-")))
    return FOLDERS[-1]


def clean_up():
    while FOLDERS:
        shutil.rmtree(FOLDERS.pop(), ignore_errors=True)


def write_config(settings, folder, mode=0o600):
    path = folder / "relais.toml"
    path.write_text(settings if isinstance(settings, str) else render(settings))
    path.chmod(mode)
    return path


def launch(net, arguments, folder=None, host="server", env=None, wrapper=(), config=None):
    """Starts the binary with arguments, without waiting for it to be ready."""
    folder = folder or scratch()
    out, err = open(folder / "stdout", "wb"), open(folder / "stderr", "wb")
    with out, err:
        process = net.spawn(host, *wrapper, binary(), *arguments, stdout=out, stderr=err,
                            cwd=folder, env=env or clean_environment())
    return Server(net, process, folder, config)


def clean_environment(**more):
    """Only what a service would have: nothing of the tester's environment configures the server."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", **more}


def start_server(net, changes=None, host="server", env=None):
    """Starts the server with the usual settings, changed by `changes`, and waits until it is ready."""
    settings = merged(default_settings(net), changes or {})
    if is_coturn():
        return start_coturn(net, settings)
    folder = scratch()
    config = write_config(settings, folder)
    server = launch(net, ["serve", "--config", str(config)], folder, host, env, config=config)
    wait_ready(server)
    return server


def wait_ready(server, seconds=5.0):
    end = time.monotonic() + seconds
    while not re.search(r'INFO +relais: ready|"message":"ready"', re.sub(r"\x1b\[\d*m", "", server.stderr())):
        if server.process.poll() is not None:
            raise AssertionError(f"the server ended with {server.process.returncode}: {server.stderr()[-1500:]}")
        if time.monotonic() > end:
            raise AssertionError(f"the server is not ready after {seconds} s: {server.stderr()[-1500:]}")
        time.sleep(0.01)


def start_coturn(net, settings):
    folder = scratch()
    secure = ["--no-tls", "--no-dtls"]
    if "tls" in settings:
        secure = ["--cert", settings["tls"]["certificate"], "--pkey", settings["tls"]["key"], "--tls-listening-port", str(TLS_PORT)]
    argv = ["turnserver", "-n", "--no-cli", *secure, "-r", settings["auth"]["realm"],
            "--listening-port", str(PORT), "--log-file", "stdout", "--simple-log", "--pidfile", str(folder / "pid"),
            "--userdb", str(folder / "db"), "--relay-threads", "2", "--user-quota", "0"]
    for address in settings["relay"]["addresses"]:
        argv += ["-L", address, "-E", address]
    if settings["auth"].get("users"):
        argv.append("--lt-cred-mech")
        for user in settings["auth"]["users"]:
            argv += ["-u", f"{user['name']}:{user['password']}"]
    else:
        argv += ["--use-auth-secret", f"--static-auth-secret={settings['auth']['secrets'][0]['secret']}"]
    with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
        process = net.spawn("server", *argv, stdout=out, stderr=err, cwd=folder)
    server = Server(net, process, folder, None)
    server.wait_for(r"TCP listener opened on : \[?2a01|Relay ports initialization done", 10, server.stdout)
    time.sleep(0.5)
    return server
