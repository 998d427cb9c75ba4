"""The files under deploy/: the unit's exposure, what its system call filter forbids, the container's sources."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

from harness import test
from net import run
from server import PASSWORD, PORT, ROOT, USER, binary, clean_environment, default_settings, launch, scratch, start_server, wait_ready, write_config
from turnclient import Client

UNIT = ROOT / "deploy/systemd/relais.service"


def unit_settings(name):
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.M)


@test()
def unit_exposure_is_at_most_1_5(net):
    done = run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)], check=False)
    found = re.search(r"Overall exposure level for relais.service: ([\d.]+)", done.stdout)
    assert found, done.stdout[-300:] + done.stderr[-300:]
    assert float(found.group(1)) <= 1.5, found.group(0)


@test()
def unit_is_valid(net):
    folder = scratch()
    unit = folder / "relais.service"
    unit.write_text(UNIT.read_text().replace("/usr/bin/relais", str(pathlib.Path(binary()).resolve())))
    done = run(["systemd-analyze", "verify", str(unit)], check=False)
    complaints = [line for line in done.stderr.splitlines() if "relais" in line]
    assert done.returncode == 0 and not complaints, done.stderr


@test()
def sysusers_makes_the_user_that_the_unit_runs_as(net):
    folder = scratch()
    (folder / "etc").mkdir()
    run(["systemd-sysusers", f"--root={folder}", str(ROOT / "deploy/systemd/relais.sysusers")])
    passwd = (folder / "etc/passwd").read_text()
    assert re.search(rf"^{unit_settings('User')[0]}:", passwd, re.M), passwd


def allowed_system_calls():
    """The calls that the unit's SystemCallFilter= lines let through."""
    def members(word):
        if not word.startswith("@"):
            return {word}
        lines = run(["systemd-analyze", "syscall-filter", word]).stdout.splitlines()
        words = [line.strip() for line in lines[1:] if line.strip() and not line.strip().startswith("#")]
        return set().union(*(members(w) for w in words)) if words else set()

    allowed = set()
    for line in unit_settings("SystemCallFilter"):
        calls = set().union(*(members(word) for word in line.lstrip("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


@test(120)
def unit_lets_through_every_system_call_of_the_server(net):
    """Start, relay over UDP and TCP, reload, log, scrape, drain and stop, and see what the kernel was asked for."""
    folder = scratch()
    config = write_config(default_settings(net), folder)
    trace = folder / "trace"
    server = launch(net, ["serve", "--config", str(config)], folder, wrapper=("strace", "-f", "-qq", "-o", str(trace)))
    wait_ready(server, 20)
    with net.inside("peer"):
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind((net.v4("peer"), 0))
    peer.settimeout(3)
    for transport in ("udp", "tcp"):
        client = Client(net, "alice", (net.v4("server"), PORT), USER, PASSWORD, transport)
        client.allocate()
        client.bind_channel(0x4000, net.v4("peer"), peer.getsockname()[1])
        client.send_channel(0x4000, b"traced")
        _, back = peer.recvfrom(100)
        peer.sendto(b"back", back)
        assert client.receive() == b"back"
        client.refresh(0)
    assert server.get("/metrics")[0] == 200
    children = pathlib.Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    assert len(children) == 1, children
    os.kill(int(children[0]), signal.SIGHUP)
    time.sleep(1)
    os.kill(int(children[0]), signal.SIGTERM)
    assert server.process.wait(10) == 0
    called = {m.group(1) for m in re.finditer(r"^\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed)", trace.read_text(), re.M)}
    assert {"recvmmsg", "epoll_wait"} & called, sorted(called)
    forbidden = called - allowed_system_calls()
    assert not forbidden, f"the unit forbids what the server calls: {sorted(forbidden)}"


@test()
def it_tells_systemd_when_it_is_ready(net):
    """READY=1 comes after the sockets are open, STOPPING=1 when it drains."""
    folder = scratch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.settimeout(5)
        config = write_config(default_settings(net), folder)
        env = clean_environment(NOTIFY_SOCKET=str(folder / "notify"))
        server = launch(net, ["serve", "--config", str(config)], folder, env=env)
        said = manager.recv(4096).decode()
        assert "READY=1" in said, said
        Client(net, "alice", (net.v4("server"), PORT)).binding()
        server.signal(signal.SIGTERM)
        said = manager.recv(4096).decode()
        assert "STOPPING=1" in said, said
        assert server.process.wait(5) == 0


@test()
def it_runs_without_root(net):
    """As in the container: nobody, no capability, a port above 1024."""
    folder = scratch()
    config = write_config(default_settings(net), folder)
    os.chown(config, 65534, 65534)
    folder.chmod(0o755)
    shutil.copy(binary(), folder / "relais")
    with open(folder / "stderr", "wb") as err:
        child = net.spawn("server", "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all",
                          "--inh-caps", "-all", "--no-new-privs", str(folder / "relais"), "serve", "--config", str(config),
                          stderr=err, cwd=folder, env=clean_environment())
    end = time.monotonic() + 5
    while "ready" not in (folder / "stderr").read_text():
        assert child.poll() is None and time.monotonic() < end, (folder / "stderr").read_text()[-500:]
        time.sleep(0.02)
    client = Client(net, "alice", (net.v4("server"), PORT), USER, PASSWORD)
    client.allocate()
    status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
    assert re.search(r"CapEff:\s+0+$", status, re.M), "it has capabilities"


@test()
def healthcheck_command_follows_the_server(net):
    server = start_server(net)
    argv = [binary(), "healthcheck"]
    done = net.exec("server", *argv, timeout=10, env=clean_environment())
    assert done.returncode == 0, done.stderr
    server.stop()
    done = net.exec("server", *argv, timeout=10, env=clean_environment())
    assert done.returncode == 1 and done.stderr.strip(), f"exit {done.returncode}: {done.stderr!r}"


@test()
def containerfile_copies_what_is_there(net):
    text = (ROOT / "deploy/container/Containerfile").read_text()
    ignored = (ROOT / "deploy/container/Containerfile.dockerignore").read_text()
    kept = [line[1:] for line in ignored.splitlines() if line.startswith("!")]
    for name in kept:
        assert (ROOT / name).exists(), f"the ignore file lets {name} through, and there is none"
    manifest = (ROOT / "Cargo.toml").read_text()
    for path in re.findall(r'^path = "([^"]+)"', manifest, re.M):
        assert path.split("/")[0] in kept, f"Cargo.toml names {path}, which the build does not get to see"
    if "[[bench]]" in manifest:
        assert "benches" in kept, "Cargo.toml names benches, and cargo wants to see them even for a build"
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), f"there is no {source} to copy"
    assert re.search(r"^USER 65534", text, re.M) and re.search(r"^FROM scratch", text, re.M)
