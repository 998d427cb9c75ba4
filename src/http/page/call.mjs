// One call with one other member of the room: negotiation, picture, words and a transfer with checksum.
import { watch } from './figures.mjs';
import { configuration } from './servers.mjs';
import { $, el, sleep } from './ui.mjs';

const CHUNK = 16 << 10;
// Bytes in the channel's buffer at which sending pauses.
const HIGH = 1 << 20;

/** FNV-1a: crypto.subtle is missing on plain http, and against loss and reordering this is enough. */
const hash = (sum, bytes) => bytes.reduce((all, byte) => Math.imul(all ^ byte, 16777619), sum);
const START = 0x811c9dc5;
const said = (sum, ok) => `checksum ${ok ? 'right' : 'WRONG'} (${(sum >>> 0).toString(16)})`;

export class Call {
  making = false;
  ignoring = false;
  work = Promise.resolve();

  /** `report` hears `{say, state, chat, progress, result}`; `settings` are `{transport, relayOnly}`. */
  constructor(line, peer, { servers, settings, stream, receive, report }) {
    Object.assign(this, { line, peer, report });
    this.label = peer.name || peer.id.slice(0, 4);
    this.polite = line.welcome.self > peer.id;
    const pc = new RTCPeerConnection(configuration(servers, settings.transport, settings.relayOnly));
    this.pc = pc;
    watch(pc, this.label);
    pc.onnegotiationneeded = () => this.offer();
    pc.onicecandidate = ({ candidate }) => line.send(peer.id, { candidate });
    pc.ontrack = ({ streams, track }) => this.show(streams[0] || new MediaStream([track]));
    pc.onconnectionstatechange = () => {
      report.state(this, pc.connectionState);
      // One side is enough, or both would offer at once again and again.
      if (pc.connectionState === 'failed' && !this.polite) pc.restartIce();
    };
    this.video = el('video', { autoplay: true, playsInline: true, ariaLabel: `Video of ${this.label}` });
    this.view = el('figure', { hidden: true }, this.video, el('figcaption', this.label));
    $('videos').append(this.view);
    this.channel = pc.createDataChannel('relais', { negotiated: true, id: 0 });
    this.channel.binaryType = 'arraybuffer';
    this.channel.onmessage = ({ data }) => (data instanceof ArrayBuffer ? this.count(new Uint8Array(data)) : this.hear(JSON.parse(data)));
    this.opened = new Promise((resolve) => { this.channel.onopen = resolve; });
    if (stream) stream.getTracks().forEach((track) => pc.addTrack(track, stream));
    else if (receive) pc.addTransceiver('video', { direction: 'recvonly' });
  }

  fault({ message }) {
    this.report.say(`${this.label}: ${message}`, 'bad');
  }

  tell(message) {
    this.channel.send(JSON.stringify(message));
  }

  async describe() {
    await this.pc.setLocalDescription();
    this.line.send(this.peer.id, { description: this.pc.localDescription });
  }

  async offer() {
    this.making = true;
    await this.describe().catch((error) => this.fault(error));
    this.making = false;
  }

  /** One message after the other: a candidate must not overtake its description. */
  signal(data) {
    this.work = this.work.then(() => this.take(data)).catch((error) => this.ignoring || this.fault(error));
  }

  // Perfect negotiation (WebRTC §10.7): when both offer at once, the polite one gives way.
  async take({ description, candidate }) {
    // One that comes before its description is of a call before this one.
    if (candidate && this.pc.remoteDescription) await this.pc.addIceCandidate(candidate);
    if (!description) return;
    const isOffer = description.type === 'offer';
    this.ignoring = isOffer && !this.polite && (this.making || this.pc.signalingState !== 'stable');
    if (this.ignoring) return;
    await this.pc.setRemoteDescription(description);
    if (isOffer) await this.describe();
  }

  show(stream) {
    const { video } = this;
    this.view.hidden = false;
    if (video.srcObject === stream) return;
    video.srcObject = stream;
    video.play().catch(({ name }) => {
      // Sound needs a click first; the picture does not. Another stream may simply have come.
      if (name === 'NotAllowedError') Object.assign(video, { muted: true, controls: true }).play().catch(() => {});
    });
  }

  /** A part of a transfer. */
  count(bytes) {
    const { incoming } = this;
    if (!incoming) return;
    incoming.sum = hash(incoming.sum, bytes);
    incoming.got += bytes.length;
    this.report.progress(incoming.got / incoming.size);
  }

  hear({ chat, begin, end, result }) {
    if (chat !== undefined) this.report.chat(this.label, String(chat));
    else if (begin) this.incoming = { size: begin.size, got: 0, sum: START };
    else if (result) this.awaiting?.(result);
    else if (end && this.incoming) {
      const { got, size, sum } = this.incoming;
      this.incoming = null;
      const ok = got === size && sum === end.sum;
      this.tell({ result: { ok, got } });
      this.report.result(`Received ${got} bytes from ${this.label}: ${said(sum, ok)}`, ok);
    }
  }

  /** Sends `size` bytes that cannot be guessed or compressed; resolves when the other side has counted them. */
  async transfer(size) {
    const { channel } = this;
    if (channel.readyState !== 'open') throw new Error('The data channel is not open.');
    if (this.awaiting) throw new Error('A transfer is under way already.');
    const answer = new Promise((resolve, reject) => {
      this.awaiting = resolve;
      channel.onclose = () => reject(new Error('The data channel was closed.'));
    });
    answer.catch(() => {});
    const begun = performance.now();
    let sum = START;
    try {
      this.tell({ begin: { size } });
      for (let sent = 0; sent < size;) {
        const chunk = crypto.getRandomValues(new Uint8Array(Math.min(CHUNK, size - sent)));
        while (channel.bufferedAmount > HIGH && channel.readyState === 'open') await sleep(4);
        channel.send(chunk);
        sum = hash(sum, chunk);
        sent += chunk.length;
        this.report.progress(sent / size);
      }
      this.tell({ end: { sum } });
      const { ok, got } = await answer;
      const seconds = (performance.now() - begun) / 1000;
      const mbit = (size * 8e-6) / seconds;
      this.report.result(`Sent ${got} bytes in ${seconds.toFixed(1)} s (${mbit.toFixed(1)} Mbit/s): ${said(sum, ok)}`, ok);
      return { ok, bytes: got, seconds, mbit };
    } finally {
      this.awaiting = null;
    }
  }

  close() {
    this.pc.close();
    this.view.remove();
  }
}
