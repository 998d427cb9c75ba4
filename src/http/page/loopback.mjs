// Two connections inside this page that talk to each other: what they find and how fast they are.
import { watch } from './figures.mjs';
import { sleep } from './ui.mjs';

const OPEN_MS = 12000;
const PINGS = 100;
const PING_MS = 10;
const BULK_MS = 1500;
// At most: somebody may pay for them.
const BULK_BYTES = 16 << 20;
const CHUNK = 16 << 10;
const HIGH = 1 << 20;

/** Two connections of these configurations; the pair stays when `open` fails, for the server to be asked about it. */
export function connect(left, right, label) {
  const errors = [];
  const [a, b] = [[left, label], [right, `${label} ←`]].map(([config, name]) => {
    const pc = new RTCPeerConnection(config);
    watch(pc, name, (error) => errors.push(error));
    const lossy = { negotiated: true, id: 0, ordered: false, maxRetransmits: 0 };
    return { pc, found: 0, ping: pc.createDataChannel('ping', lossy), bulk: pc.createDataChannel('bulk', { negotiated: true, id: 1 }) };
  });
  for (const [from, to] of [[a, b], [b, a]]) {
    from.pc.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) from.found += 1;
      to.pc.addIceCandidate(candidate || undefined).catch(() => {});
    };
  }
  b.ping.onmessage = ({ data }) => b.ping.send(data);
  return { a, b, errors, gathered: () => Math.min(a.found, b.found), close: () => { a.pc.close(); b.pc.close(); } };
}

/** Resolves when all channels are open. `address`: where the right one is too, as the server sees it. */
export async function open({ a, b }, address) {
  await a.pc.setLocalDescription();
  await b.pc.setRemoteDescription(a.pc.localDescription);
  await b.pc.setLocalDescription();
  await a.pc.setRemoteDescription(b.pc.localDescription);
  if (address) {
    // The relay permits the address, whatever the port.
    const candidate = `candidate:1 1 udp 2122252543 ${address} 40000 typ host`;
    a.pc.addIceCandidate({ candidate, sdpMid: '0', sdpMLineIndex: 0 }).catch(() => {});
  }
  const end = performance.now() + OPEN_MS;
  const isOpen = ({ ping, bulk }) => ping.readyState === 'open' && bulk.readyState === 'open';
  const failed = ({ pc, found }) => pc.connectionState === 'failed' || (pc.iceGatheringState === 'complete' && !found);
  while (!isOpen(a) || !isOpen(b)) {
    if (failed(a) || failed(b) || performance.now() > end) {
      // The reason may come a moment after the end.
      await sleep(300);
      throw new Error('');
    }
    await sleep(20);
  }
}

/** Round trips over a channel that loses what the network loses: `{p50, p99, loss}` in ms and 0 to 1. */
export async function pings({ a: { ping } }, count = PINGS) {
  const trips = new Map();
  ping.onmessage = ({ data }) => {
    const [n, at] = data.split(' ').map(Number);
    if (!trips.has(n)) trips.set(n, performance.now() - at);
  };
  for (let n = 0; n < count && ping.readyState === 'open'; n += 1) {
    ping.send(`${n} ${performance.now()} ${'.'.repeat(60)}`);
    await sleep(PING_MS);
  }
  for (let i = 0; i < 20 && trips.size < count; i += 1) await sleep(50);
  if (!trips.size) throw new Error('The connection was there, but no message came back.');
  const sorted = [...trips.values()].sort((x, y) => x - y);
  const at = (part) => sorted[Math.floor(sorted.length * part)];
  return { p50: at(0.5), p99: at(0.99), loss: 1 - sorted.length / count };
}

/** Mbit/s of a channel that repeats and orders, from the first byte that came to the last. */
export async function throughput({ a: { bulk }, b: { bulk: sink } }) {
  const chunk = new Uint8Array(CHUNK);
  let [sent, got, first, last] = [0, 0, 0, 0];
  sink.binaryType = 'arraybuffer';
  sink.onmessage = ({ data }) => {
    last = performance.now();
    first ||= last;
    got += data.byteLength;
  };
  const end = performance.now() + BULK_MS;
  while (performance.now() < end && sent < BULK_BYTES && bulk.readyState === 'open') {
    if (bulk.bufferedAmount > HIGH) await sleep(4);
    else {
      bulk.send(chunk);
      sent += CHUNK;
    }
  }
  // What is left in the queue is not waited for long: the rate is known.
  for (let i = 0; i < 20 && got < sent; i += 1) await sleep(50);
  return last > first ? (got - CHUNK) * 8 / (last - first) / 1000 : 0;
}
