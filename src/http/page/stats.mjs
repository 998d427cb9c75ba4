// Figures from getStats, the same for all browsers, and the charts of them.
import { T } from './strings.mjs';
import { $, el } from './ui.mjs';

const POINTS = 60;

/** The selected pair and what it carries. */
export function digest(report) {
  const all = [...report.values()];
  const transport = all.find((s) => s.type === 'transport' && s.selectedCandidatePairId);
  const chosen = transport ? report.get(transport.selectedCandidatePairId)
    : all.find((s) => s.type === 'candidate-pair' && (s.selected || (s.nominated && s.state === 'succeeded')));
  const incoming = all.filter((s) => s.type === 'inbound-rtp');
  const sum = (list, key) => list.reduce((total, s) => total + (s[key] || 0), 0);
  const jitters = incoming.map((s) => s.jitter).filter((value) => value !== undefined);
  const out = {
    pair: null, bytesSent: 0, bytesReceived: 0, rtt: null,
    framesDecoded: sum(incoming.filter((s) => s.kind === 'video'), 'framesDecoded'),
    received: sum(incoming, 'packetsReceived'), lost: sum(incoming, 'packetsLost'),
    jitter: jitters.length ? Math.max(...jitters) * 1000 : null,
  };
  if (!chosen) return out;
  const mine = report.get(chosen.localCandidateId) || {};
  const theirs = report.get(chosen.remoteCandidateId) || {};
  return {
    ...out,
    pair: { local: mine.candidateType, remote: theirs.candidateType, relayProtocol: mine.relayProtocol || null, url: mine.url || null },
    bytesSent: chosen.bytesSent || 0,
    bytesReceived: chosen.bytesReceived || 0,
    rtt: chosen.currentRoundTripTime === undefined ? null : chosen.currentRoundTripTime * 1000,
  };
}

export const pairText = (pair) => (pair ? `${pair.local}/${pair.remote}${pair.relayProtocol ? ` (${pair.relayProtocol})` : ''}` : '');

const past = new WeakMap(); // connection -> {last, points}

/** What a connection did since the last look: rates in kbit/s, loss 0 to 1. `mark`: the next look counts from here. */
export async function figures(pc, mark = false) {
  const now = { ...digest(await pc.getStats()), at: performance.now() };
  const kept = past.get(pc) ?? { last: null, points: [] };
  const { last } = kept;
  const since = (key) => (last ? Math.max(0, now[key] - last[key]) : 0);
  const rate = (key) => (last && now.at > last.at ? (since(key) * 8) / (now.at - last.at) : 0);
  const packets = since('received') + since('lost');
  const out = { ...now, kbitOut: rate('bytesSent'), kbitIn: rate('bytesReceived'), loss: packets ? since('lost') / packets : null, state: pc.connectionState };
  if (mark) {
    kept.last = now;
    if (last) kept.points.push({ out: out.kbitOut, in: out.kbitIn, rtt: out.rtt, jitter: out.jitter, loss: out.loss === null ? null : out.loss * 100 });
    if (kept.points.length > POINTS) kept.points.shift();
    past.set(pc, kept);
  }
  return out;
}

export const history = (pc) => past.get(pc)?.points ?? [];

const CHARTS = [
  { id: 'rate', keys: ['in', 'out'], text: (p) => T.rates(p.in, p.out) },
  { id: 'rtt', keys: ['rtt'], text: (p) => T.ms(p.rtt) },
  { id: 'jitter', keys: ['jitter'], text: (p) => T.ms(p.jitter) },
  { id: 'loss', keys: ['loss'], text: (p) => T.percent(p.loss), least: 5 },
];

const svg = (tag, attributes) => {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  return made;
};

/** Draws the charts of one connection's points. */
export function draw(points) {
  const places = $('charts');
  if (!places.children.length) {
    for (const { id } of CHARTS) places.append(el('figure', { id: `chart-${id}` }, el('figcaption', {}, el('span', {}, T.charts[id]), el('strong', {}, '–'))));
  }
  for (const { id, keys, text, least = 1 } of CHARTS) {
    const figure = $(`chart-${id}`);
    const known = (point) => keys.some((key) => point[key] !== null && point[key] !== undefined);
    const now = points.filter(known).at(-1);
    const words = now ? text(now) : '–';
    figure.querySelector('strong').textContent = words;
    const top = Math.max(least, ...points.flatMap((point) => keys.map((key) => point[key] ?? 0))) * 1.1;
    const picture = svg('svg', { viewBox: '0 0 240 64', preserveAspectRatio: 'none', role: 'img', 'aria-label': `${T.charts[id]}: ${words}` });
    keys.forEach((key, n) => {
      const at = (value, i) => `${((POINTS - points.length + i) * 240) / (POINTS - 1)} ${62 - (value / top) * 58}`;
      const line = points.map((point, i) => (point[key] === null || point[key] === undefined ? null : at(point[key], i))).filter(Boolean);
      if (line.length < 2) return;
      if (!n) picture.append(svg('path', { class: 'area', d: `M${line[0].split(' ')[0]} 64L${line.join('L')}L${line.at(-1).split(' ')[0]} 64Z` }));
      picture.append(svg('path', { class: n ? 'line second' : 'line', d: `M${line.join('L')}` }));
    });
    figure.querySelector('svg')?.remove();
    figure.append(picture);
  }
}
