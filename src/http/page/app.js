'use strict';
// The trial page of Relais. One file, no build step: signaling, calls, checks, and what to show of them.
// Everything that can be clicked can be driven by a script through window.relais.

const $ = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const here = (path) => new URL(path, location.href.split(/[?#]/)[0]);

const ROOM_MS = 15000; // how long a check or a join may take
const CHUNK = 16 * 1024;
const HIGH = 1024 * 1024; // bytes in the channel's buffer at which sending pauses
const LOW = 256 * 1024;

// What the server means (RFC 8656 §16, RFC 8489 §14.8), in plain words.
const CODES = {
  300: 'the server sends us to another server',
  400: 'the server did not understand the request',
  401: 'wrong or expired credential',
  403: 'the server forbids it (its peer rules, or it is stopping)',
  420: 'the server does not know an attribute',
  437: 'the server still has an allocation for this port; a new attempt uses another one',
  438: 'the nonce was too old; browsers try again by themselves',
  440: 'the server has no address of that family (IPv4 or IPv6)',
  441: 'the allocation belongs to other credentials',
  442: 'the server does not relay over that transport',
  443: 'the peer has an address of another family than the relay',
  486: 'this user has too many allocations: the quota is used up',
  500: 'the server has an internal error',
  508: 'the server has no relay port or memory left',
  701: 'no answer from the server: wrong address or port, nothing listens there, or a firewall is in between',
};
const decode = (event) => {
  const known = CODES[event.errorCode];
  const own = event.errorText && event.errorText !== known ? ` (${event.errorText})` : '';
  return `${event.errorCode}: ${known || 'unknown error'}${known ? '' : own}`;
};

// ---------------------------------------------------------------- settings

const settings = { relayOnly: true, transport: 'any' };

/** The servers that fit the chosen transport. */
function choose(servers, transport, relayOnly) {
  const kept = [];
  for (const server of servers) {
    const urls = [].concat(server.urls).filter((url) => {
      if (/^stuns?:/i.test(url)) return !relayOnly;
      if (transport === 'any') return true;
      const tcp = /^turns:/i.test(url) || /[?&]transport=tcp/i.test(url);
      return tcp === (transport === 'tcp');
    });
    if (urls.length) kept.push({ ...server, urls });
  }
  return kept;
}

function configuration(servers, transport, relayOnly) {
  const iceServers = choose(servers, transport, relayOnly);
  if (relayOnly && !iceServers.length) {
    throw new Error(`the server offers no turn: address over ${transport.toUpperCase()}`);
  }
  return { iceServers, iceTransportPolicy: relayOnly ? 'relay' : 'all' };
}

// ---------------------------------------------------------------- iceServers

let iceServers = null;
let iceAt = -Infinity;

function keepIce(servers) {
  iceServers = servers;
  iceAt = performance.now();
  $('ice').textContent = JSON.stringify({ iceServers: servers }, null, 2);
}

async function refusal(answer) {
  try {
    const { error } = await answer.json();
    return new Error(`${error.message} ${error.help}`);
  } catch {
    return new Error(`the server answered ${answer.status}`);
  }
}

/** Fresh ones: from the API where we may ask it, else as a member of a room of our own. */
async function freshIce() {
  const answer = await fetch(here('v1/ice-servers'), { cache: 'no-store' });
  if (answer.ok) {
    keepIce((await answer.json()).iceServers);
    return iceServers;
  }
  const why = await refusal(answer);
  let line;
  try {
    line = await Signaling.open(await freshRoom(), 'check');
  } catch {
    throw why;
  }
  line.close();
  keepIce(line.welcome.iceServers);
  return iceServers;
}

async function recentIce() {
  return iceServers && performance.now() - iceAt < 300000 ? iceServers : freshIce();
}

/** A room for `meeting`: the one where all meet who name none, if the server has one; else one that nobody guesses. */
async function freshRoom(meeting) {
  const answer = await fetch(here('v1/rooms'), { method: 'POST', cache: 'no-store' });
  if (!answer.ok) throw await refusal(answer);
  const rooms = await answer.json();
  return meeting && rooms.default || rooms.room;
}

// ---------------------------------------------------------------- signaling

class Signaling {
  /** Joins a room; resolves with the line once the welcome has come. */
  static open(room, name) {
    return new Promise((resolve, reject) => {
      const url = here('ws');
      url.protocol = url.protocol.replace('http', 'ws');
      url.searchParams.set('room', room);
      const socket = new WebSocket(url);
      const line = new Signaling(socket);
      const timer = setTimeout(() => fail('the server did not answer in time'), ROOM_MS);
      let error = '';
      const fail = (reason) => {
        clearTimeout(timer);
        reject(new Error(reason));
        socket.close();
      };
      socket.onopen = () => socket.send(JSON.stringify({ join: { room, name } }));
      socket.onmessage = ({ data }) => {
        const frame = JSON.parse(data);
        if (frame.error) error = `${frame.error.message} ${frame.error.help}`;
        if (!frame.welcome) return;
        clearTimeout(timer);
        line.welcome = frame.welcome;
        socket.onmessage = (event) => line.frame(JSON.parse(event.data));
        socket.onclose = (event) => line.onclose(event.reason || 'the connection to the server broke');
        resolve(line);
      };
      socket.onclose = (event) => fail(error || event.reason || 'the signaling socket could not be opened');
    });
  }

  constructor(socket) {
    this.socket = socket;
    this.waiting = [];
    this.onclose = () => {};
  }

  /** Frames that come before somebody listens wait. */
  listen(handler) {
    this.handler = handler;
    this.waiting.splice(0).forEach(handler);
  }

  frame(frame) {
    if (this.handler) this.handler(frame);
    else this.waiting.push(frame);
  }

  send(to, data) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ to, data }));
  }

  close() {
    this.onclose = () => {};
    this.socket.close(1000);
  }
}

// ---------------------------------------------------------------- media

let local = null; // the MediaStream that we send
let stopMedia = () => {};

/** A moving picture and a quiet tone: works without a camera and without https. */
function synthetic() {
  const canvas = document.createElement('canvas');
  canvas.width = 320;
  canvas.height = 240;
  const pen = canvas.getContext('2d');
  const hue = Math.floor(Math.random() * 360);
  let n = 0;
  const draw = () => {
    n += 1;
    pen.fillStyle = `hsl(${hue} 45% 22%)`;
    pen.fillRect(0, 0, 320, 240);
    for (let i = 0; i < 8; i += 1) {
      const high = 60 + 50 * Math.sin(n / 9 + i);
      pen.fillStyle = `hsl(${hue + i * 22} 70% 60%)`;
      pen.fillRect(14 + i * 37, 195 - high, 28, high);
    }
    pen.fillStyle = '#fff';
    pen.font = '22px system-ui, sans-serif';
    pen.fillText(`${new Date().toLocaleTimeString()}  #${n}`, 14, 34);
  };
  draw();
  const timer = setInterval(draw, 66);
  const stream = canvas.captureStream(15);
  let audio;
  try {
    audio = new AudioContext();
    const tone = audio.createOscillator();
    const volume = audio.createGain();
    volume.gain.value = 0.05;
    tone.frequency.value = 220 + hue;
    const out = audio.createMediaStreamDestination();
    tone.connect(volume).connect(out);
    tone.start();
    stream.addTrack(out.stream.getAudioTracks()[0]);
  } catch { /* a picture is enough */ }
  stopMedia = () => {
    clearInterval(timer);
    stream.getTracks().forEach((track) => track.stop());
    if (audio) audio.close();
  };
  return stream;
}

async function startMedia(kind) {
  stopMedia();
  local = null;
  if (kind === 'camera') {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 480 } });
      stopMedia = () => stream.getTracks().forEach((track) => track.stop());
      local = stream;
    } catch (error) {
      say(`No camera or microphone (${error.message}); sending the test picture.`, 'warn');
    }
  }
  if (!local && kind !== 'none') local = synthetic();
  $('local').srcObject = local;
  $('self-view').hidden = !local;
}

// ---------------------------------------------------------------- checksum

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

// ---------------------------------------------------------------- calls

const calls = new Map(); // peer id -> Call
const messages = []; // chat, both ways

class Call {
  constructor(line, peer, servers) {
    this.line = line;
    this.peer = peer;
    this.label = peer.name || peer.id.slice(0, 4);
    this.polite = line.welcome.self > peer.id;
    this.making = false;
    this.ignoring = false;
    this.work = Promise.resolve();
    this.pc = new RTCPeerConnection(configuration(servers, settings.transport, settings.relayOnly));
    watchCandidates(this.pc, this.label);
    this.pc.onnegotiationneeded = () => this.offer();
    this.pc.onicecandidate = ({ candidate }) => line.send(peer.id, { candidate });
    this.pc.ontrack = ({ streams, track }) => this.show(streams[0] || new MediaStream([track]));
    this.pc.onconnectionstatechange = () => {
      const state = this.pc.connectionState;
      say(`${this.label}: ${state}`, state === 'connected' ? 'good' : state === 'failed' ? 'bad' : '');
      // One side is enough, or both would offer at once again and again.
      if (state === 'failed' && !this.polite) this.pc.restartIce();
    };
    this.channel = this.pc.createDataChannel('relais', { negotiated: true, id: 0 });
    this.channel.binaryType = 'arraybuffer';
    this.channel.bufferedAmountLowThreshold = LOW;
    this.channel.onmessage = ({ data }) => this.receive(data);
    this.opened = new Promise((resolve) => { this.channel.onopen = resolve; });
    if (local) local.getTracks().forEach((track) => this.pc.addTrack(track, local));
    else if ($('media').value !== 'none') this.pc.addTransceiver('video', { direction: 'recvonly' });
  }

  async offer() {
    try {
      this.making = true;
      await this.pc.setLocalDescription();
      this.line.send(this.peer.id, { description: this.pc.localDescription });
    } catch (error) {
      say(`${this.label}: ${error.message}`, 'bad');
    } finally {
      this.making = false;
    }
  }

  /** One message after the other: a candidate must not overtake its description. */
  signal(data) {
    this.work = this.work.then(() => this.take(data)).catch((error) => {
      if (!this.ignoring) say(`${this.label}: ${error.message}`, 'bad');
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
      this.view = document.createElement('figure');
      this.video = document.createElement('video');
      this.video.autoplay = true;
      this.video.playsInline = true;
      this.video.dataset.testid = 'remote-video';
      this.video.setAttribute('aria-label', `Video of ${this.label}`);
      const caption = document.createElement('figcaption');
      caption.textContent = this.label;
      this.view.append(this.video, caption);
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
      progress(this.incoming.got / this.incoming.size);
      return;
    }
    const message = JSON.parse(data);
    if (message.chat !== undefined) {
      chatLine(this.label, String(message.chat));
    } else if (message.begin) {
      this.incoming = { size: message.begin.size, got: 0, crc: 0 };
    } else if (message.end && this.incoming) {
      const { got, size, crc } = this.incoming;
      this.incoming = null;
      const ok = got === size && hex(crc) === message.end.crc;
      this.channel.send(JSON.stringify({ result: { ok, got, crc: hex(crc) } }));
      result(`Received ${got} bytes from ${this.label}: checksum ${ok ? 'right' : 'WRONG'} (${hex(crc)})`, ok);
    } else if (message.result && this.awaiting) {
      this.awaiting(message.result);
    }
  }

  /** Sends `size` bytes that cannot be guessed or compressed; resolves when the other side has counted them. */
  async transfer(size) {
    const { channel } = this;
    if (channel.readyState !== 'open') throw new Error('the data channel is not open');
    if (this.awaiting) throw new Error('a transfer is under way already');
    const begun = performance.now();
    let crc = 0;
    let seed = (Math.random() * 2 ** 32) >>> 0 || 1;
    let gone = () => {};
    const broken = new Promise((_, reject) => { gone = () => reject(new Error('the data channel was closed')); });
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
        progress(sent / size);
      }
      channel.send(JSON.stringify({ end: { crc: hex(crc) } }));
      const got = await Promise.race([answer, broken]);
      const seconds = (performance.now() - begun) / 1000;
      return { ok: got.ok && got.got === size && got.crc === hex(crc), checksum: hex(crc), bytes: got.got, seconds, mbit: size * 8e-6 / seconds };
    } finally {
      channel.removeEventListener('close', gone);
      this.awaiting = null;
    }
  }

  close() {
    this.pc.close();
    if (this.view) this.view.remove();
  }
}

let line = null; // the room that we are in
let muted = false;

async function join(room, options = {}) {
  leave();
  say('Joining …');
  if (options.media) $('media').value = options.media;
  if (options.name !== undefined) $('name').value = options.name;
  try {
    const name = room || new URLSearchParams(location.hash.slice(1)).get('room')
      || new URLSearchParams(location.search).get('room') || await freshRoom(true);
    await startMedia($('media').value);
    line = await Signaling.open(name, $('name').value);
  } catch (error) {
    stopMedia();
    $('self-view').hidden = true;
    say(error.message, 'bad');
    throw error;
  }
  const mine = line;
  const { welcome } = mine;
  keepIce(welcome.iceServers);
  line.onclose = (reason) => {
    // Calls that stand go on without the room.
    say(`Out of the room: ${reason}`, 'bad');
    if (line === mine) line = null;
    buttons();
  };
  history.replaceState(null, '', `#room=${encodeURIComponent(welcome.room)}`);
  $('room').value = welcome.room;
  $('link').value = location.href.replace(/\?[^#]*/, '');
  $('share').hidden = false;
  say(welcome.peers.length ? `Calling ${welcome.peers.length} …` : 'Waiting for somebody to come. Open the link on another device, or in another tab.');
  // The newcomer calls; who was here waits for its offer.
  for (const peer of welcome.peers) call(mine, peer);
  const names = new Map(welcome.peers.map((peer) => [peer.id, peer]));
  mine.listen((frame) => {
    if (frame['peer-joined']) names.set(frame['peer-joined'].id, frame['peer-joined']);
    if (frame['peer-left']) {
      const { id } = frame['peer-left'];
      names.delete(id);
      if (calls.has(id)) {
        say(`${calls.get(id).label} has left.`);
        calls.get(id).close();
        calls.delete(id);
        peers();
      }
    }
    if (frame.from && names.has(frame.from) && frame.data) {
      const known = calls.get(frame.from) || (frame.data.description && call(mine, names.get(frame.from)));
      if (known) known.signal(frame.data);
    }
  });
  buttons();
  return { room: welcome.room, self: welcome.self, peers: welcome.peers };
}

function call(through, peer) {
  try {
    const made = new Call(through, peer, iceServers);
    calls.set(peer.id, made);
    peers();
    return made;
  } catch (error) {
    say(`No call to ${peer.name || peer.id}: ${error.message}`, 'bad');
    return null;
  }
}

function leave() {
  if (line) line.close();
  line = null;
  calls.forEach((one) => one.close());
  calls.clear();
  stopMedia();
  stopMedia = () => {};
  local = null;
  muted = false;
  $('self-view').hidden = true;
  $('share').hidden = true;
  peers();
  buttons();
}

function mute(on) {
  muted = on;
  if (local) local.getAudioTracks().forEach((track) => { track.enabled = !on; });
  buttons();
}

// ---------------------------------------------------------------- the loop-back check

/** Whether this browser can reach itself through the relay: {ok, rtt (ms), reason, pair, errors}. */
async function loopback(transport = 'any') {
  const errors = [];
  let gathered = 0;
  let a;
  let b;
  try {
    const config = configuration(await recentIce(), transport, true);
    a = new RTCPeerConnection(config);
    b = new RTCPeerConnection(config);
    watchCandidates(a, `check ${transport}`, (event) => errors.push(decode(event)));
    a.onicecandidate = ({ candidate }) => {
      if (candidate && candidate.candidate) gathered += 1;
      b.addIceCandidate(candidate || undefined).catch(() => {});
    };
    b.onicecandidate = ({ candidate }) => { a.addIceCandidate(candidate || undefined).catch(() => {}); };
    const channel = a.createDataChannel('check');
    b.ondatachannel = (event) => {
      event.channel.onmessage = ({ data }) => event.channel.send(data);
    };
    const open = new Promise((resolve) => { channel.onopen = resolve; });
    const failed = new Promise((_, reject) => {
      const check = () => {
        if (a.iceGatheringState === 'complete' && !gathered) {
          // The reason may come a moment after the end of the gathering.
          setTimeout(() => reject(new Error([...new Set(errors)].join('; ') || 'the relay gave no address, and no reason')), 300);
        } else if (a.connectionState === 'failed') {
          reject(new Error('the relay gave addresses, but nothing came through them: the server may forbid its own address as a peer'));
        }
      };
      a.onicegatheringstatechange = check;
      a.onconnectionstatechange = check;
    });
    const late = sleep(ROOM_MS).then(() => {
      throw new Error([...new Set(errors)].join('; ') || (gathered ? 'nothing came through the relay in time' : CODES[701]));
    });
    late.catch(() => {});
    failed.catch(() => {});
    await a.setLocalDescription();
    await b.setRemoteDescription(a.localDescription);
    await b.setLocalDescription();
    await a.setRemoteDescription(b.localDescription);
    await Promise.race([open, failed, late]);
    const trips = [];
    for (let i = 0; i < 10; i += 1) {
      const begun = performance.now();
      const back = new Promise((resolve) => { channel.onmessage = resolve; });
      channel.send(String(i));
      await Promise.race([back, failed, late]);
      trips.push(performance.now() - begun);
    }
    trips.sort((x, y) => x - y);
    const { pair } = digest(await a.getStats());
    // The message crosses the relay four times: there and back, and each end has its own allocation.
    return { ok: true, transport, rtt: trips[5], reason: '', pair, errors };
  } catch (error) {
    return { ok: false, transport, rtt: null, reason: error.message, pair: null, errors };
  } finally {
    if (a) a.close();
    if (b) b.close();
  }
}

async function checkAll() {
  $('check').disabled = true;
  $('checks').replaceChildren();
  verdict('Testing …', '');
  const results = [];
  for (const transport of ['udp', 'tcp']) {
    const item = document.createElement('li');
    item.textContent = `${transport.toUpperCase()}: testing …`;
    item.dataset.testid = `check-${transport}`;
    $('checks').append(item);
    const got = await loopback(transport);
    results.push(got);
    item.className = got.ok ? 'good' : 'bad';
    item.textContent = got.ok
      ? `✓ ${transport.toUpperCase()} works. Round trip ${got.rtt.toFixed(1)} ms, ${got.pair.local}/${got.pair.remote}.`
      : `✗ ${transport.toUpperCase()} does not work: ${got.reason.replace(/\.$/, '')}.`;
  }
  const good = results.filter((got) => got.ok).map((got) => got.transport.toUpperCase());
  if (good.length === 2) verdict('✓ The relay works, over UDP and TCP.', 'good');
  else if (good.length) verdict(`✓ The relay works over ${good[0]} only.`, 'warn');
  else verdict('✗ The relay does not work from here.', 'bad');
  $('check').disabled = false;
  return results;
}

// ---------------------------------------------------------------- figures

/** The selected pair and what it carries, the same for all browsers. */
function digest(report) {
  const all = [...report.values()];
  const transport = all.find((s) => s.type === 'transport' && s.selectedCandidatePairId);
  const chosen = transport ? report.get(transport.selectedCandidatePairId)
    : all.find((s) => s.type === 'candidate-pair' && (s.selected || (s.nominated && s.state === 'succeeded')));
  const video = all.filter((s) => s.type === 'inbound-rtp' && s.kind === 'video');
  const framesDecoded = video.reduce((sum, s) => sum + (s.framesDecoded || 0), 0);
  if (!chosen) return { pair: null, framesDecoded, bytesSent: 0, bytesReceived: 0, rtt: null };
  const mine = report.get(chosen.localCandidateId) || {};
  const theirs = report.get(chosen.remoteCandidateId) || {};
  return {
    pair: { local: mine.candidateType, remote: theirs.candidateType, relayProtocol: mine.relayProtocol || null, url: mine.url || null },
    framesDecoded,
    bytesSent: chosen.bytesSent || 0,
    bytesReceived: chosen.bytesReceived || 0,
    rtt: chosen.currentRoundTripTime === undefined ? null : chosen.currentRoundTripTime * 1000,
  };
}

const before = new WeakMap(); // Call -> its last figures

async function figures(one) {
  const now = { ...digest(await one.pc.getStats()), at: performance.now() };
  const last = before.get(one);
  const rate = (key) => (last && now.at > last.at ? Math.max(0, ((now[key] - last[key]) * 8) / (now.at - last.at)) : 0);
  return { now, out: { ...now, kbitOut: rate('bytesSent'), kbitIn: rate('bytesReceived'), peer: one.peer.id, state: one.pc.connectionState } };
}

/** Of one call, or of the first: {pair:{local,remote,relayProtocol}, framesDecoded, rtt, kbitOut, kbitIn, …}. */
async function stats(id) {
  const one = id ? calls.get(id) : calls.values().next().value;
  return one ? (await figures(one)).out : null;
}

async function tick() {
  const rows = [];
  for (const one of calls.values()) {
    const { now, out } = await figures(one);
    before.set(one, now);
    const path = out.pair ? `${out.pair.local}/${out.pair.remote}` : out.state;
    const ms = out.rtt === null ? '' : `${out.rtt.toFixed(1)} ms`;
    rows.push(row([one.label, path, (out.pair && out.pair.relayProtocol) || '', ms, kbit(out.kbitOut), kbit(out.kbitIn), out.framesDecoded]));
  }
  if (rows.length) $('stats').replaceChildren(...rows);
  else if (!$('stats').querySelector('.dim')) {
    const empty = row(['No call.'], 'dim');
    empty.firstChild.colSpan = 7;
    $('stats').replaceChildren(empty);
  }
}
const kbit = (value) => (value >= 1000 ? `${(value / 1000).toFixed(1)} Mbit/s` : `${value.toFixed(0)} kbit/s`);

// ---------------------------------------------------------------- candidates

function watchCandidates(pc, label, onerror = () => {}) {
  const begun = performance.now();
  const add = (cells, style) => {
    const body = $('candidates');
    if (body.querySelector('[colspan="6"]')) body.replaceChildren();
    body.append(row([Math.round(performance.now() - begun), label, ...cells], style));
    while (body.children.length > 200) body.firstChild.remove();
  };
  pc.addEventListener('icecandidate', ({ candidate }) => {
    if (!candidate || !candidate.candidate) return;
    const { type, protocol, relayProtocol, address, port, url } = candidate;
    add([type, relayProtocol ? `${protocol} (to the relay: ${relayProtocol})` : protocol, address ? `${address}:${port}` : 'hidden', url || '']);
  });
  pc.addEventListener('icecandidateerror', (event) => {
    onerror(event);
    const line = row([Math.round(performance.now() - begun), label, 'error', decode(event), '', event.url || ''], 'bad');
    line.children[3].className = 'why';
    if ($('candidates').querySelector('[colspan="6"]')) $('candidates').replaceChildren();
    $('candidates').append(line);
  });
}

function row(cells, style = '') {
  const line = document.createElement('tr');
  line.className = style;
  line.append(...cells.map((text) => {
    const cell = document.createElement('td');
    cell.textContent = text;
    return cell;
  }));
  return line;
}

// ---------------------------------------------------------------- what is seen

function say(text, style = '') {
  $('call-status').textContent = text;
  $('call-status').className = style;
}

function verdict(text, style) {
  $('verdict').textContent = text;
  $('verdict').className = `verdict ${style}`;
}

function result(text, ok) {
  $('transfer-result').textContent = text;
  $('transfer-result').className = ok ? 'good' : 'bad';
}

function progress(part) {
  $('progress').value = part;
}

function chatLine(who, text) {
  messages.push({ who, text });
  const entry = document.createElement('p');
  const name = document.createElement('strong');
  name.textContent = `${who}: `;
  entry.append(name, text);
  $('chat').append(entry);
  while ($('chat').children.length > 200) $('chat').firstChild.remove();
  $('chat').scrollTop = $('chat').scrollHeight;
}

function buttons() {
  $('hangup').disabled = !line && !calls.size;
  $('mute').disabled = !local;
  $('mute').textContent = muted ? 'Unmute' : 'Mute';
  $('mute').setAttribute('aria-pressed', String(muted));
  $('join').textContent = line ? 'Join anew' : 'Join';
}

function peers() {
  const chosen = $('peer').value;
  $('peer').replaceChildren(...[...calls.values()].map((one) => new Option(one.label, one.peer.id)));
  if (calls.has(chosen)) $('peer').value = chosen;
  $('peer').disabled = !calls.size;
  $('transfer').disabled = !calls.size;
}

function chat(text) {
  let reached = 0;
  for (const { channel } of calls.values()) {
    if (channel.readyState === 'open') {
      channel.send(JSON.stringify({ chat: text }));
      reached += 1;
    }
  }
  if (reached) chatLine('You', text);
  return reached;
}

async function transfer(bytes = 10 * 1000 * 1000, id = $('peer').value) {
  const one = calls.get(id) || calls.values().next().value;
  if (!one) throw new Error('there is nobody to send to');
  await Promise.race([one.opened, sleep(ROOM_MS)]);
  return one.transfer(bytes);
}

async function copy(field, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // The clipboard needs https; the old way does not.
    const range = document.createRange();
    if (field.select) field.select();
    else {
      range.selectNodeContents(field);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
    }
    document.execCommand('copy');
  }
}

/** What a button does; a failure is shown, not lost in the console. */
const button = (id, work, show) => $(id).addEventListener('click', () => {
  Promise.resolve().then(work).catch((error) => show(error.message));
});

button('check', checkAll, (text) => verdict(text, 'bad'));
button('join', () => join($('room').value.trim()), (text) => say(text, 'bad'));
button('hangup', () => { leave(); say('Hung up.'); }, (text) => say(text, 'bad'));
button('mute', () => mute(!muted), (text) => say(text, 'bad'));
button('copy-link', () => copy($('link'), $('link').value), (text) => say(text, 'bad'));
button('copy-ice', () => copy($('ice'), $('ice').textContent), (text) => say(text, 'bad'));
button('get-ice', freshIce, (text) => { $('ice').textContent = text; });
button('transfer', async () => {
  $('transfer').disabled = true;
  try {
    const got = await transfer();
    result(`Sent ${got.bytes} bytes in ${got.seconds.toFixed(1)} s (${got.mbit.toFixed(1)} Mbit/s): checksum ${got.ok ? 'right' : 'WRONG'} (${got.checksum})`, got.ok);
  } finally {
    $('transfer').disabled = !calls.size;
  }
}, (text) => result(text, false));
$('chat-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('chat-input').value;
  if (text && chat(text)) $('chat-input').value = '';
});
$('relay-only').addEventListener('change', (event) => { settings.relayOnly = event.target.checked; });
$('transport').addEventListener('change', (event) => { settings.transport = event.target.value; });

function set(changed) {
  Object.assign(settings, changed);
  $('relay-only').checked = settings.relayOnly;
  $('transport').value = settings.transport;
}

if (!window.RTCPeerConnection) verdict('This browser has no WebRTC.', 'bad');
if (!navigator.mediaDevices) {
  $('media').value = 'synthetic';
  $('media').querySelector('[value=camera]').disabled = true;
  $('insecure').hidden = false;
}
set({ relayOnly: $('relay-only').checked, transport: $('transport').value });
$('room').value = new URLSearchParams(location.hash.slice(1)).get('room') || new URLSearchParams(location.search).get('room') || '';
peers();
buttons();
setInterval(() => tick().catch(() => {}), 1000);
addEventListener('pagehide', leave);

window.relais = {
  join, leave, call: (id) => calls.get(id), loopback, checkAll, stats, transfer, chat, mute, set, settings, messages,
  iceServers: recentIce,
  peers: () => [...calls.keys()],
};
