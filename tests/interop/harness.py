"""Registers tests, runs them one after the other, and counts."""

import argparse
import pathlib
import signal
import sys
import time
import traceback

import net as network
import server as servers

TESTS = []


def test(seconds=90, coturn=False):
    """Marks a function as a test that may last `seconds`; `coturn`: it speaks only STUN and TURN."""
    def mark(function):
        TESTS.append((function.__name__, function, seconds, coturn))
        return function
    return mark


def _too_late(*_):
    raise TimeoutError("the test took too long")


def main(purpose):
    """Runs what the command line chooses and returns the exit code."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("names", nargs="*", help="tests to run (parts of their names); all, if none is named")
    parser.add_argument("--list", action="store_true")
    wanted = parser.parse_args()
    chosen = [t for t in TESTS if not wanted.names or any(n in t[0] for n in wanted.names)]
    if servers.is_coturn():
        chosen = [t for t in chosen if t[3]]
    if wanted.list:
        print("\n".join(t[0] for t in chosen))
        return 0
    if not chosen:
        print("no such test", file=sys.stderr)
        return 2
    if not servers.is_coturn() and not pathlib.Path(servers.binary()).exists():
        print(f"FAIL start: there is no {servers.binary()}: build it with `cargo build --release`")
        print("0 passed, 1 failed")
        return 1
    passed = failed = 0
    signal.signal(signal.SIGALRM, _too_late)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with network.Network() as net:
        for name, function, seconds, _ in chosen:
            began = time.monotonic()
            signal.alarm(seconds)
            try:
                function(net)
            except Exception as error:
                failed += 1
                where = traceback.extract_tb(error.__traceback__)
                place = next((f for f in reversed(where) if pathlib.Path(f.filename).name.startswith("test_")), where[-1])
                words = " ".join(str(error).split()) or type(error).__name__
                print(f"FAIL {name}: {words} ({pathlib.Path(place.filename).name}:{place.lineno})", flush=True)
            else:
                passed += 1
                print(f"ok {name} ({time.monotonic() - began:.1f} s)", flush=True)
            finally:
                signal.alarm(0)
                net.stop_processes()
                servers.clean_up()
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0
