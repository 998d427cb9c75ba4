// What the server is asked for: iceServers, its own, fresh enough, or those that were pasted instead; and rooms.
import { ask, here } from './ui.mjs';

// Ms for which a credential is used again.
const FRESH = 300000;

let own = null;
let at = -Infinity;
let pasted = null;

export const shown = () => pasted ?? own;
export const isPasted = () => Boolean(pasted);
const changed = () => dispatchEvent(new Event('servers'));

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
  try {
    keep((await ask('v1/ice-servers')).iceServers);
  } catch (error) {
    const line = await freshRoom().then((room) => enter(room, 'check')).catch(() => { throw error; });
    line.close();
    keep(line.welcome.iceServers);
  }
  return own;
}

export async function current() {
  return pasted ?? (performance.now() - at < FRESH ? own : fresh());
}

/** `{scheme, host, port, transport}` of a `turn:` or `stun:` URL; null for anything else. */
export function parseUrl(url) {
  const found = /^(stuns?|turns?):(\[[^\]]+\]|[^:?]+)(?::(\d+))?(?:\?transport=(\w+))?$/i.exec(url);
  if (!found) return null;
  const [, scheme, host, port, asked] = found;
  const secure = /s$/i.test(scheme);
  return { scheme: scheme.toLowerCase(), host, port: Number(port ?? (secure ? 5349 : 3478)), transport: secure ? 'tls' : asked ?? 'udp' };
}

const only = (servers, fits) => servers.map((server) => ({ ...server, urls: [].concat(server.urls).filter((url) => fits(parseUrl(url) ?? {})) }))
  .filter(({ urls }) => urls.length);

export const stunOnly = (servers) => only(servers, ({ scheme }) => /^stun/.test(scheme)).map(({ urls }) => ({ urls }));

/** For a transport (`any`, `udp`, `tcp`, `tls`); STUN goes with `any` and `udp` unless relay only. */
export function configuration(servers, wanted, relayOnly) {
  const fits = ({ scheme, transport }) => (/^stun/.test(scheme) ? !relayOnly && /any|udp/.test(wanted) : ['any', transport].includes(wanted));
  const iceServers = only(servers, fits);
  if (relayOnly && !iceServers.length) throw new Error(`The server offers no turn: address over ${wanted.toUpperCase()}.`);
  return { iceServers, iceTransportPolicy: relayOnly ? 'relay' : 'all' };
}

/** The login whose view the server shows: that of the first relay. */
export function login(servers) {
  const [one] = only(servers ?? [], ({ scheme }) => /^turn/.test(scheme));
  return one?.username ? { username: one.username, credential: one.credential ?? '' } : null;
}

const JOIN_MS = 15000;

/** A room for `meeting`: the one where all meet who name none, if there is one; else one that nobody guesses. */
export async function freshRoom(meeting) {
  const rooms = await ask('v1/rooms', { method: 'POST' });
  return (meeting && rooms.default) || rooms.room;
}

/** Joins a room; resolves with `{welcome, listen(), send(), close(), onclose}` once the welcome has come. */
export function enter(room, name) {
  const url = here('ws');
  url.protocol = url.protocol.replace('http', 'ws');
  url.searchParams.set('room', room);
  const socket = new WebSocket(url);
  const waiting = [];
  const line = {
    onclose() {},
    take: (frame) => waiting.push(frame),
    /** Frames that came before somebody listens have waited. */
    listen(handler) {
      line.take = handler;
      waiting.forEach(handler);
    },
    send: (to, data) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify({ to, data })),
    close() {
      line.onclose = () => {};
      socket.close(1000);
    },
  };
  return new Promise((resolve, reject) => {
    let why = '';
    const timer = setTimeout(() => {
      why = 'The server did not answer in time.';
      socket.close();
    }, JOIN_MS);
    socket.onopen = () => socket.send(JSON.stringify({ join: { room, name } }));
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (line.welcome) line.take(frame);
      else if (frame.error) why = `${frame.error.message} ${frame.error.help}`;
      else if (frame.welcome) {
        clearTimeout(timer);
        line.welcome = frame.welcome;
        resolve(line);
      }
    };
    socket.onclose = ({ reason }) => {
      clearTimeout(timer);
      reject(new Error(why || reason || 'The signaling socket could not be opened.'));
      line.onclose(reason || 'The connection to the server broke.');
    };
  });
}
