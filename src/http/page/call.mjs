// One call with one other member of the room: negotiation, picture, words and a transfer with checksum.
import { T } from './strings.mjs';
import { $, el } from './ui.mjs';
import { watch } from './candidates.mjs';
import { configuration } from './servers.mjs';

const CHUNK = 16 * 1024;
const HIGH = 1024 * 1024; // bytes in the channel's buffer at which sending pauses
const LOW = 256 * 1024;

// CRC-32: crypto.subtle is missing on plain http, and against loss and reordering this is enough.
const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k += 1) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});
function crc32(crc, bytes) {
  let c = ~crc;
  for (let i = 0; i < bytes.length; i += 1) c = TABLE[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  return ~c >>> 0;
}
const hex = (crc) => crc.toString(16).padStart(8, '0');

export class Call {
  /** `report` hears `{say, state, chat, progress, result}`; `settings` are `{transport, relayOnly}`. */
  constructor(line, peer, { servers, settings, stream, receive, report }) {
    this.line = line;
    this.peer = peer;
    this.report = report;
    this.servers = servers;
    this.label = peer.name || peer.id.slice(0, 4);
    this.polite = line.welcome.self > peer.id;
    this.making = false;
    this.ignoring = false;
    this.work = Promise.resolve();
    this.pc = new RTCPeerConnection(configuration(servers, settings.transport, settings.relayOnly));
    watch(this.pc, this.label);
    this.pc.onnegotiationneeded = () => this.offer();
    this.pc.onicecandidate = ({ candidate }) => line.send(peer.id, { candidate });
    this.pc.ontrack = ({ streams, track }) => this.show(streams[0] || new MediaStream([track]));
    this.pc.onconnectionstatechange = () => {
      const state = this.pc.connectionState;
      report.state(this, state);
      // One side is enough, or both would offer at once again and again.
      if (state === 'failed' && !this.polite) this.pc.restartIce();
    };
    this.channel = this.pc.createDataChannel('relais', { negotiated: true, id: 0 });
    this.channel.binaryType = 'arraybuffer';
    this.channel.bufferedAmountLowThreshold = LOW;
    this.channel.onmessage = ({ data }) => this.receive(data);
    this.opened = new Promise((resolve) => { this.channel.onopen = resolve; });
    if (stream) stream.getTracks().forEach((track) => this.pc.addTrack(track, stream));
    else if (receive) this.pc.addTransceiver('video', { direction: 'recvonly' });
  }

  /** Other settings for a running call: new candidates, by an ICE restart. */
  change(settings) {
    this.pc.setConfiguration(configuration(this.servers, settings.transport, settings.relayOnly));
    this.pc.restartIce();
  }

  async offer() {
    try {
      this.making = true;
      await this.pc.setLocalDescription();
      this.line.send(this.peer.id, { description: this.pc.localDescription });
    } catch (error) {
      this.report.say(`${this.label}: ${error.message}`, 'bad');
    } finally {
      this.making = false;
    }
  }

  /** One message after the other: a candidate must not overtake its description. */
  signal(data) {
    this.work = this.work.then(() => this.take(data)).catch((error) => {
      if (!this.ignoring) this.report.say(`${this.label}: ${error.message}`, 'bad');
    });
  }

  // Perfect negotiation (WebRTC §10.7): when both offer at once, the polite one gives way.
  async take({ description, candidate }) {
    const { pc } = this;
    if (description) {
      const clash = description.type === 'offer' && (this.making || pc.signalingState !== 'stable');
      this.ignoring = clash && !this.polite;
      if (this.ignoring) return;
      await pc.setRemoteDescription(description);
      if (description.type === 'offer') {
        await pc.setLocalDescription();
        this.line.send(this.peer.id, { description: pc.localDescription });
      }
    } else if (candidate) {
      await pc.addIceCandidate(candidate);
    }
  }

  show(stream) {
    if (!this.view) {
      this.video = el('video', { autoplay: true, playsInline: true, className: 'remote', aria: { label: T.videoOf(this.label) } });
      this.view = el('figure', {}, this.video, el('figcaption', {}, this.label));
      $('videos').append(this.view);
    }
    if (this.video.srcObject === stream) return;
    this.video.srcObject = stream;
    this.video.play().catch((error) => {
      // Sound needs a click first; the picture does not. Another stream may simply have come.
      if (error.name !== 'NotAllowedError') return;
      this.video.muted = true;
      this.video.controls = true;
      this.video.play().catch(() => {});
    });
  }

  receive(data) {
    if (data instanceof ArrayBuffer) {
      if (!this.incoming) return;
      const bytes = new Uint8Array(data);
      this.incoming.crc = crc32(this.incoming.crc, bytes);
      this.incoming.got += bytes.length;
      this.report.progress(this.incoming.got / this.incoming.size);
      return;
    }
    const message = JSON.parse(data);
    if (message.chat !== undefined) {
      this.report.chat(this.label, String(message.chat));
    } else if (message.begin) {
      this.incoming = { size: message.begin.size, got: 0, crc: 0 };
    } else if (message.end && this.incoming) {
      const { got, size, crc } = this.incoming;
      this.incoming = null;
      const ok = got === size && hex(crc) === message.end.crc;
      this.channel.send(JSON.stringify({ result: { ok, got, crc: hex(crc) } }));
      this.report.result(T.received(got, this.label, ok, hex(crc)), ok);
    } else if (message.result && this.awaiting) {
      this.awaiting(message.result);
    }
  }

  /** Sends `size` bytes that cannot be guessed or compressed; resolves when the other side has counted them. */
  async transfer(size) {
    const { channel } = this;
    if (channel.readyState !== 'open') throw new Error(T.channelShut);
    if (this.awaiting) throw new Error(T.transferring);
    const begun = performance.now();
    let crc = 0;
    let seed = (Math.random() * 2 ** 32) >>> 0 || 1;
    let gone = () => {};
    const broken = new Promise((_, reject) => { gone = () => reject(new Error(T.channelClosed)); });
    broken.catch(() => {});
    channel.addEventListener('close', gone, { once: true });
    const answer = new Promise((resolve) => { this.awaiting = resolve; });
    try {
      channel.send(JSON.stringify({ begin: { size } }));
      for (let sent = 0; sent < size;) {
        const words = new Uint32Array(CHUNK / 4);
        for (let i = 0; i < words.length; i += 1) {
          seed ^= seed << 13; seed ^= seed >>> 17; seed ^= seed << 5;
          words[i] = seed;
        }
        const chunk = new Uint8Array(words.buffer, 0, Math.min(CHUNK, size - sent));
        crc = crc32(crc, chunk);
        if (channel.bufferedAmount > HIGH) {
          const low = new Promise((resolve) => { channel.addEventListener('bufferedamountlow', resolve, { once: true }); });
          await Promise.race([low, broken]);
        }
        channel.send(chunk);
        sent += chunk.length;
        this.report.progress(sent / size);
      }
      channel.send(JSON.stringify({ end: { crc: hex(crc) } }));
      const got = await Promise.race([answer, broken]);
      const seconds = (performance.now() - begun) / 1000;
      return { ok: got.ok && got.got === size && got.crc === hex(crc), checksum: hex(crc), bytes: got.got, seconds, mbit: (size * 8e-6) / seconds };
    } finally {
      channel.removeEventListener('close', gone);
      this.awaiting = null;
    }
  }

  close() {
    this.pc.close();
    this.view?.remove();
  }
}
