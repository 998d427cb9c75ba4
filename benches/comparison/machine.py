"""What the machine must have, and what it says about threads."""

import os
import shutil

from .network import Failure

TOOLS = {"ip": "iproute2", "ss": "iproute2", "ethtool": "ethtool", "taskset": "util-linux", "chrt": "util-linux",
         "openssl": "openssl", "turnserver": "coturn"}


def demand(binaries):
    """Fails unless this machine and this user can run the comparison."""
    if os.geteuid() != 0:
        raise Failure("network namespaces, pinned kernel threads and real-time priorities need root: run it with sudo")
    if os.cpu_count() < 2:
        raise Failure("two processor cores are needed: one for the relay, one for the load")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        packages = sorted({TOOLS[tool] for tool in missing})
        raise Failure(f"{', '.join(missing)} missing: apt-get install {' '.join(packages)}")
    for binary in binaries:
        if not os.access(binary, os.X_OK):
            raise Failure(f"{binary} is no program: cargo build --release")


def run_time_ns(thread):
    """Time that a thread has run, in nanoseconds."""
    with open(f"/proc/{thread}/schedstat", encoding="utf-8") as schedstat:
        return int(schedstat.read().split()[0])
