"""Two webrtcbin of GStreamer, with ICE by libnice, that may only use relayed candidates; prints one JSON object.

    webrtcbin_pair.py turn://USER:PASSWORD@HOST:PORT?transport=udp|tcp    (turns:// likewise)
"""

import hashlib
import json
import os
import re
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstWebRTC  # noqa: E402

MESSAGES = 200


class End:
    """One peer connection and what came over its data channel."""

    def __init__(self, pipeline, name, candidates):
        self.bin = Gst.ElementFactory.make("webrtcbin", name)
        self.bin.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.bin.set_property("ice-transport-policy", GstWebRTC.WebRTCICETransportPolicy.RELAY)
        self.bin.set_property("turn-server", sys.argv[1])
        pipeline.add(self.bin)
        self.good, self.sent, self.last, self.channel, self.other = 0, 0, None, None, None
        self.candidates = candidates

    def meet(self, other):
        self.other = other
        self.bin.connect("on-ice-candidate", self.on_candidate)

    def on_candidate(self, _, line, text):
        self.candidates.append(text)
        self.other.bin.emit("add-ice-candidate", line, text)

    def take(self, channel, on_open=None):
        self.channel = channel
        channel.connect("on-message-data", self.on_message)
        if on_open:
            channel.connect("on-open", lambda _: on_open())

    def send_next(self):
        """Sends a message; the other end answers each with one of its own."""
        self.last = hashlib.sha256(str(self.sent).encode()).digest() + os.urandom(self.sent * 20)
        self.sent += 1
        self.channel.emit("send-data", GLib.Bytes.new(self.last))

    def on_message(self, _, data):
        self.good += data.get_data() == self.other.last
        if self.sent < MESSAGES:
            self.send_next()
        elif self.other.sent == MESSAGES:
            LOOP.quit()


def promise(then):
    return Gst.Promise.new_with_change_func(lambda done: then(done.get_reply()))


def call(one, two):
    """Offer and answer; the candidates go by the signals."""
    def offered(reply):
        offer = reply.get_value("offer")
        one.bin.emit("set-local-description", offer, Gst.Promise.new())
        two.bin.emit("set-remote-description", offer, promise(lambda _: two.bin.emit("create-answer", None, promise(answered))))

    def answered(reply):
        answer = reply.get_value("answer")
        two.bin.emit("set-local-description", answer, Gst.Promise.new())
        one.bin.emit("set-remote-description", answer, Gst.Promise.new())

    one.bin.emit("create-offer", None, promise(offered))


def late():
    print("it took too long", file=sys.stderr)
    os._exit(1)


Gst.init(None)
LOOP = GLib.MainLoop()
GLib.timeout_add_seconds(40, late)
pipeline, candidates = Gst.Pipeline.new("pair"), []
one, two = End(pipeline, "one", candidates), End(pipeline, "two", candidates)
one.meet(two)
two.meet(one)
two.bin.connect("on-data-channel", lambda _, channel: two.take(channel))
pipeline.set_state(Gst.State.PLAYING)
one.take(one.bin.emit("create-data-channel", "bytes", None), on_open=one.send_next)
call(one, two)
LOOP.run()
kinds = sorted({found for text in candidates for found in re.findall(r" typ (\w+)", text)})
nice = Gst.Registry.get().find_plugin("nice").get_version()
print(json.dumps({
    "library": f"{Gst.version_string()} webrtcbin, libnice {nice}", "candidates": kinds,
    "wanted": MESSAGES, "there": two.good, "back": one.good,
}), flush=True)
pipeline.set_state(Gst.State.NULL)
