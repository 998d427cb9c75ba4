// Two connections inside this page that talk to each other: what they find and how fast they are.
import { T } from './strings.mjs';
import { sleep } from './ui.mjs';
import { watch } from './candidates.mjs';

const OPEN_MS = 12000;
const PINGS = 100;
const PING_MS = 10;
const BULK_MS = 1500;
const BULK_BYTES = 16 << 20; // at most: somebody may pay for them
const CHUNK = 16 << 10;
const HIGH = 1 << 20;

/**
 * Two connections with open channels: `{a, b, ping, bulk, gathered, errors, close}`. Throws an Error that carries `errors` and
 * `gathered`; then the connections are still there, for the server to be asked about them. `left` and `right` are their configurations; `more(pair)` may add candidates.
 */
export async function connect(left, right, label, more) {
  const pair = { errors: [], gathered: 0, tight: false };
  const note = (error) => pair.errors.push(error);
  const fail = (text) => Object.assign(new Error(text), { errors: pair.errors, gathered: pair.gathered, close: pair.close });
  try {
    pair.a = new RTCPeerConnection(left);
    pair.b = new RTCPeerConnection(right);
  } catch (error) {
    pair.a?.close();
    throw fail(error.message);
  }
  const { a, b } = pair;
  const found = { a: 0, b: 0 };
  const cross = (from, to, name) => {
    from.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) found[name] += 1;
      pair.gathered = Math.min(found.a, found.b);
      to.addIceCandidate(candidate || undefined).catch(() => {});
    };
  };
  watch(a, label, note);
  watch(b, `${label} ←`, note);
  cross(a, b, 'a');
  cross(b, a, 'b');
  const channel = (pc, name, id, options) => pc.createDataChannel(name, { negotiated: true, id, ...options });
  const lossy = { ordered: false, maxRetransmits: 0 };
  pair.ping = channel(a, 'ping', 0, lossy);
  pair.bulk = channel(a, 'bulk', 1);
  const echo = channel(b, 'ping', 0, lossy);
  pair.sink = channel(b, 'bulk', 1);
  echo.onmessage = ({ data }) => echo.send(data);
  pair.close = () => { a.close(); b.close(); };
  let timer;
  try {
    const open = Promise.all([pair.ping, pair.bulk, pair.sink, echo].map((one) => new Promise((yes) => { one.onopen = yes; })));
    const failed = new Promise((_, no) => {
      const check = () => {
        for (const [pc, name] of [[a, 'a'], [b, 'b']]) {
          // The reason may come a moment after the end of the gathering.
          if (pc.iceGatheringState === 'complete' && !found[name]) setTimeout(() => no(fail('')), 300);
          if (pc.connectionState === 'failed') no(fail(''));
        }
      };
      for (const pc of [a, b]) {
        pc.addEventListener('icegatheringstatechange', check);
        pc.addEventListener('connectionstatechange', check);
      }
      timer = setTimeout(() => no(fail('')), OPEN_MS);
    });
    await a.setLocalDescription();
    await b.setRemoteDescription(a.localDescription);
    await b.setLocalDescription();
    await a.setRemoteDescription(b.localDescription);
    more?.(pair);
    await Promise.race([open, failed]);
    return pair;
  } catch (error) {
    throw error.errors ? error : fail(error.message);
  } finally {
    clearTimeout(timer);
  }
}

/** Round trips over a channel that loses what the network loses: `{p50, p99, loss, sent}` in ms and 0 to 1. */
export async function pings({ ping }, count = PINGS) {
  const trips = new Map();
  ping.onmessage = ({ data }) => {
    const [n, at] = String(data).split(' ').map(Number);
    if (!trips.has(n)) trips.set(n, performance.now() - at);
  };
  for (let n = 0; n < count; n += 1) {
    if (ping.readyState !== 'open') break;
    ping.send(`${n} ${performance.now()} ${'.'.repeat(60)}`);
    await sleep(PING_MS);
  }
  for (let i = 0; i < 20 && trips.size < count; i += 1) await sleep(50);
  const sorted = [...trips.values()].sort((x, y) => x - y);
  if (!sorted.length) throw new Error(T.noPing);
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
  return { p50: at(0.5), p99: at(0.99), loss: 1 - sorted.length / count, sent: count };
}

/** Mbit/s of a channel that repeats and orders, from the first byte that came to the last. */
export async function throughput({ bulk, sink }) {
  const chunk = new Uint8Array(CHUNK);
  const got = { bytes: 0, first: 0, last: 0 };
  sink.binaryType = 'arraybuffer';
  sink.onmessage = ({ data }) => {
    got.last = performance.now();
    got.first ||= got.last;
    got.bytes += data.byteLength;
  };
  const begun = performance.now();
  let sent = 0;
  while (performance.now() - begun < BULK_MS && sent < BULK_BYTES && bulk.readyState === 'open') {
    if (bulk.bufferedAmount > HIGH) await sleep(4);
    else {
      bulk.send(chunk);
      sent += CHUNK;
    }
  }
  // What is left in the queue is not waited for long: the rate is known.
  for (let i = 0; i < 20 && got.bytes < sent; i += 1) await sleep(50);
  const ms = got.last - got.first;
  return ms > 0 ? (got.bytes - CHUNK) * 8 / ms / 1000 : 0;
}
