// Why a test failed. What the server knows comes before what the browser says, and that before what is likely. Pure:
// everything it judges is handed in.
import { T } from './strings.mjs';

const SLACK = 1500; // ms; the server's clock is read over the network

const time = (one) => Date.parse(one.at ?? one.created);
/** What is not older, oldest first. */
const newer = (list, since) => (list ?? []).filter((one) => time(one) >= since - SLACK).sort((a, b) => time(a) - time(b));

/** What the server saw of one test: `{known, allocations, refusals}`; `since` is the server's time at its beginning. */
export function seen(view, since, transport) {
  const mine = (one) => !transport || one.transport === transport;
  return {
    known: Boolean(view),
    allocations: newer(view?.allocations, since).filter(mine),
    refusals: newer(view?.refusals, since).filter(mine).filter(isReason),
  };
}

// What every client meets on its way, not reasons: steps of the login, and packets that are ahead of their permission.
export const isReason = (one) => !/^(no_credentials|stale_nonce|no_permission)$/.test(one.cause) && !(one.method === 'data' && one.cause === 'peer_denied');
const byPeer = (one) => Boolean(one.peer) || one.cause === 'peer_denied';

const fromServer = (refusal) => ({ cause: refusal.cause, text: refusal.message, cure: refusal.cure, from: 'server' });
const own = (cause, [text, cure], from = 'browser') => ({ cause, text, cure, from });

/**
 * Of a relay test that did not come about. `errors` are the browser's `{code, text, url}`, `gathered` counts relayed
 * candidates, `place` is the `{host, port}` that was tried, `about` what the server says of its certificate for that host.
 */
export function explain({ transport, place, errors = [], gathered = 0, view = null, since = 0, error = '', about = {} }) {
  const { known, allocations, refusals } = seen(view, since, transport);
  const fatal = refusals.filter((one) => !byPeer(one));
  if (fatal.length && !gathered) return fromServer(fatal.at(-1));
  if (gathered || allocations.length) {
    const denied = refusals.find(byPeer);
    if (denied) return fromServer(denied);
    if (fatal.length) return fromServer(fatal.at(-1));
    if (!gathered) return own('answers_lost', T.why.answersLost(transport), 'server');
    return own('no_data', T.why.noData(known && allocations.length ? sums(allocations) : null), known ? 'server' : 'browser');
  }
  if (errors.some(({ text }) => /lookup/i.test(text ?? ''))) return own('dns', T.why.dns(place));
  const answered = errors.find(({ code }) => code >= 300 && code < 700);
  if (answered) return own(`code_${answered.code}`, T.code(answered.code, answered.text));
  if (error) return own('browser', [error, T.cure.browser]);
  if (transport === 'tls') {
    const cause = about.certificate === false ? 'tls_name' : about.certificate && about.trusted === false ? 'tls_self_signed' : 'tls_unreached';
    return own(cause, T.why[cause](place, about.certificate), cause === 'tls_unreached' ? 'browser' : 'server');
  }
  return own('unreached', T.why.unreached(transport, place, known), known ? 'server' : 'browser');
}

/** Of the test in which the relay sends to an address of this browser that is not a relayed one. */
export function explainPeer({ view = null, since = 0, address = '', error = '' }) {
  const { known, allocations, refusals } = seen(view, since, '');
  const denied = refusals.filter(byPeer).at(-1);
  if (denied) return { ...fromServer(denied), state: 'warn' };
  if (refusals.length) return fromServer(refusals.at(-1));
  if (!known) return own('peer_unreached', T.why.peerUnknown(address));
  const { to_peers: out, to_client: back } = sums(allocations);
  if (error && !out.packets && !back.packets) return own('browser', [error, T.cure.browser]);
  return own('relay_range_blocked', T.why.peerBlocked(address, out.packets, back.packets, relayPorts(allocations)), 'server');
}

const relayPorts = (allocations) => allocations.map((one) => one.relayed).filter(Boolean).at(-1) ?? '';

export function sums(allocations) {
  const add = (key) => allocations.reduce((all, one) => ({ packets: all.packets + (one[key]?.packets ?? 0), bytes: all.bytes + (one[key]?.bytes ?? 0) }), { packets: 0, bytes: 0 });
  return { to_peers: add('to_peers'), to_client: add('to_client') };
}

/** The headline over all tests: `{state, text, detail, cure}`. */
export function headline(results) {
  const ways = results.filter(({ id }) => id !== 'peers');
  const good = ways.filter(({ state }) => state === 'good').map(({ id }) => id.toUpperCase());
  const bad = ways.filter(({ state }) => state === 'bad');
  const peers = results.find(({ id }) => id === 'peers');
  const first = bad[0] ?? (peers && ['bad', 'warn'].includes(peers.state) ? peers : null);
  const more = { detail: first?.why?.text ?? '', cure: first?.why?.cure ?? '' };
  if (!ways.some(({ state }) => state !== 'off')) return { state: 'bad', text: T.headline.nothing, detail: '', cure: '' };
  if (!good.length) return { state: 'bad', text: T.headline.none, ...more };
  if (bad.length) return { state: 'warn', text: T.headline.some(T.list(good), T.list(bad.map(({ id }) => id.toUpperCase()))), ...more };
  if (peers?.state === 'bad') return { state: 'warn', text: T.headline.onlyInside(T.list(good)), ...more };
  return { state: 'good', text: T.headline.all(T.list(good)), detail: '', cure: '' };
}
