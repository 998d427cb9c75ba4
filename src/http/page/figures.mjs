// What connections tell: the table of candidates and of the errors on the way to them, and charts of getStats.
import { $, el, fill, ms, ofCode, percent, row } from './ui.mjs';

const MOST = 400;
export const candidates = [];

/** Watches a connection; `onerror` gets `{code, text, url}`. */
export function watch(pc, label, onerror = () => {}) {
  const begun = performance.now();
  const add = (one) => {
    candidates.push({ time: Math.round(performance.now() - begun), label, ...one });
    if (candidates.length > MOST) candidates.shift();
    showCandidates();
  };
  pc.addEventListener('icecandidate', ({ candidate }) => {
    if (!candidate?.candidate) return;
    const { type, foundation, protocol, address, port, priority, relayProtocol, url } = candidate;
    add({ type, foundation, protocol, address, port, priority, relayProtocol, url });
  });
  pc.addEventListener('icecandidateerror', ({ errorCode: code, errorText: text, url, address, port }) => {
    onerror({ code, text, url });
    add({ type: 'error', code, text: `${code}: ${ofCode(code, text).join(' ')}`, url, address, port });
  });
}

/** Begins anew. */
export function forget() {
  candidates.length = 0;
  showCandidates();
}

let pending = 0;
export function showCandidates() {
  pending ||= setTimeout(() => {
    pending = 0;
    const chosen = new Set([...document.querySelectorAll('#filters :checked')].map(({ value }) => value));
    const fits = candidates.filter(({ type, protocol, relayProtocol }) => chosen.has(type)
      && (type === 'error' || ['any', protocol, relayProtocol].some((one) => chosen.has(one))));
    fill('candidates', fits.map(line), candidates.length ? 'None of this kind.' : 'None yet.');
    $('candidate-count').textContent = candidates.length ? `${fits.length} of ${candidates.length} shown` : '';
  }, 60);
}

/** The priority in its parts (RFC 8445 §5.1.2.1): type preference, local preference, component. */
const parts = (value) => `${value >>> 24} | ${(value >>> 8) & 0xffff} | ${256 - (value & 255)}`;

function line({ time, label, type, text, foundation, protocol, address, port, priority, relayProtocol, url }) {
  if (type === 'error') return row([time, label, type, el('td.why', { colSpan: 6 }, text), url], { state: 'bad' });
  const weight = el('td', { title: priority }, parts(priority));
  return row([time, label, type, foundation, protocol, address || 'hidden', port, weight, relayProtocol, url]);
}

const POINTS = 60;
// Connection -> {last, points}.
const past = new WeakMap();

/** The selected pair of a report, in browsers that name it and in those that mark it. */
function selected(report) {
  const all = [...report.values()];
  const transport = all.find((one) => one.type === 'transport' && one.selectedCandidatePairId);
  if (transport) return report.get(transport.selectedCandidatePairId);
  return all.find((one) => one.type === 'candidate-pair' && (one.selected || (one.nominated && one.state === 'succeeded')));
}

/** What a connection does: totals, and since the last look kbit/s and loss in percent. `mark`: the next look counts from here. */
export async function figures(pc, mark = false) {
  const report = await pc.getStats();
  const chosen = selected(report) ?? {};
  const incoming = [...report.values()].filter(({ type }) => type === 'inbound-rtp');
  const sum = (key) => incoming.reduce((total, one) => total + (one[key] ?? 0), 0);
  const inMs = (seconds) => (Number.isFinite(seconds) ? seconds * 1000 : null);
  const { candidateType: local, relayProtocol = null, url = null } = report.get(chosen.localCandidateId) ?? {};
  const { bytesSent = 0, bytesReceived = 0 } = chosen;
  const now = {
    state: pc.connectionState, at: performance.now(), bytesSent, bytesReceived,
    pair: local ? { local, remote: report.get(chosen.remoteCandidateId)?.candidateType, relayProtocol, url } : null,
    rtt: inMs(chosen.currentRoundTripTime), jitter: inMs(Math.max(...incoming.map(({ jitter }) => jitter ?? 0))),
    framesDecoded: sum('framesDecoded'), received: sum('packetsReceived'), lost: sum('packetsLost'),
  };
  const { last = now, points = [] } = past.get(pc) ?? {};
  const since = (key) => Math.max(0, now[key] - last[key]);
  const kbit = (key) => (since(key) * 8) / (now.at - last.at || 1);
  const packets = since('received') + since('lost');
  const out = { ...now, kbitOut: kbit('bytesSent'), kbitIn: kbit('bytesReceived'), loss: packets ? since('lost') / packets * 100 : null };
  if (mark) past.set(pc, { last: now, points: last === now ? points : [...points, out].slice(-POINTS) });
  return out;
}

export const history = (pc) => past.get(pc)?.points ?? [];

export const pairText = (pair) => (pair ? `${pair.local}/${pair.remote}${pair.relayProtocol ? ` (${pair.relayProtocol})` : ''}` : '');

// What is drawn, the least height of its scale, and how it is said.
const CHARTS = [
  ['Bit rate', ['kbitIn', 'kbitOut'], 1, ({ kbitIn, kbitOut }) => `↓ ${kbitIn.toFixed()} ↑ ${kbitOut.toFixed()} kbit/s`],
  ['Round trip', ['rtt'], 1, ({ rtt }) => ms(rtt)],
  ['Jitter', ['jitter'], 1, ({ jitter }) => ms(jitter)],
  ['Loss', ['loss'], 5, ({ loss }) => percent(loss)],
];

/** Draws the charts of one connection's points. */
export function draw(points) {
  $('charts').replaceChildren(...CHARTS.map(([title, keys, least, say]) => {
    const now = points.findLast((point) => point[keys[0]] !== null);
    const figure = el('figure', el('figcaption.dim', title, el('strong', now ? say(now) : '–')));
    const top = Math.max(least, ...points.flatMap((point) => keys.map((key) => point[key]))) * 1.1;
    const place = (value, i) => (value === null ? [] : [`${(POINTS - points.length + i) * 4} ${62 - (value / top) * 58}`]);
    const paths = keys.map((key, n) => {
      const line = points.flatMap((point, i) => place(point[key], i));
      if (line.length < 2) return '';
      const d = `M${line.join('L')}`;
      const [left] = line[0].split(' ');
      return `<path class="line ${n ? 'second' : ''}" d="${d}"/>${n ? '' : `<path class="area" d="${d}V64H${left}Z"/>`}`;
    });
    // Numbers alone: nothing in it comes from elsewhere.
    figure.insertAdjacentHTML('beforeend', `<svg viewBox="0 0 236 64" preserveAspectRatio="none" aria-hidden="true">${paths.join('')}</svg>`);
    return figure;
  }));
}
