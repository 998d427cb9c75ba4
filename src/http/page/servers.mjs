// Which iceServers are in use: this server's own, fresh enough, or those that were pasted instead.
import { T } from './strings.mjs';
import { here } from './ui.mjs';
import { Signaling, freshRoom, refusal } from './signaling.mjs';

const FRESH = 300000; // ms for which a credential is used again

let own = null;
let at = -Infinity;
let pasted = null;
const listeners = new Set();

export const onServers = (listener) => listeners.add(listener);
const changed = () => listeners.forEach((listener) => listener(shown(), Boolean(pasted)));
export const shown = () => pasted ?? own;
export const isPasted = () => Boolean(pasted);

/** What the server gave, by whatever way. */
export function keep(servers) {
  own = servers;
  at = performance.now();
  changed();
}

/** The pasted ones from now on, or with null the server's own again. */
export function usePasted(servers) {
  pasted = servers;
  changed();
}

/** Fresh ones: from the API where we may ask it, else as a member of a room of our own. */
export async function fresh() {
  const answer = await fetch(here('v1/ice-servers'), { cache: 'no-store' });
  if (answer.ok) {
    keep((await answer.json()).iceServers);
    return own;
  }
  const why = await refusal(answer);
  let line;
  try {
    line = await Signaling.open(await freshRoom(), 'check');
  } catch {
    throw why;
  }
  line.close();
  keep(line.welcome.iceServers);
  return own;
}

export async function current() {
  if (pasted) return pasted;
  return own && performance.now() - at < FRESH ? own : fresh();
}

export function transportOf(url) {
  if (/^turns:/i.test(url)) return 'tls';
  return /[?&]transport=tcp/i.test(url) ? 'tcp' : 'udp';
}

/** The servers that fit a transport (`any`, `udp`, `tcp`, `tls`); STUN goes with `any` and `udp` unless relay only. */
export function choose(servers, transport, relayOnly) {
  const kept = [];
  for (const server of servers) {
    const urls = [].concat(server.urls).filter((url) => {
      if (/^stuns?:/i.test(url)) return !relayOnly && /any|udp/.test(transport);
      return transport === 'any' || transportOf(url) === transport;
    });
    if (urls.length) kept.push({ ...server, urls });
  }
  return kept;
}

export const stunOnly = (servers) => servers.flatMap(({ urls }) => {
  const kept = [].concat(urls).filter((url) => /^stuns?:/i.test(url));
  return kept.length ? [{ urls: kept }] : [];
});

export function configuration(servers, transport, relayOnly) {
  const iceServers = choose(servers, transport, relayOnly);
  if (relayOnly && !iceServers.length) throw new Error(T.notOffered(transport.toUpperCase()));
  return { iceServers, iceTransportPolicy: relayOnly ? 'relay' : 'all' };
}

/** The login whose view the server shows: that of the first relay. */
export function login(servers) {
  const one = (servers ?? []).find(({ urls, username }) => username && [].concat(urls).some((url) => /^turns?:/i.test(url)));
  return one ? { username: one.username, credential: one.credential ?? '' } : null;
}
