// Judges a pasted RTCConfiguration: what is wrong with it, in plain words, and what it should be. Knows no page.
import { T } from './strings.mjs';
import { F } from './faults.mjs';
import { parseLiteral, Unknown } from './literal.mjs';

const NAMES = {
  urls: ['url', 'uri', 'uris', 'server', 'servers', 'URL', 'URLs', 'Urls'],
  username: ['user', 'userName', 'Username', 'user_name', 'login'],
  credential: ['password', 'credentials', 'Credential', 'pass', 'secret', 'Password', 'passwd'],
};
// Ports at which browsers refuse a TURN server: all below 1024 but 80 and 443, and those of other protocols (Fetch §2.9).
const OTHERS_PORTS = [1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080];
export const LONGEST_NAME = 508;

export const isAddress = (host) => /^\[.*\]$/.test(host) || /^\d{1,3}(\.\d{1,3}){3}$/.test(host);
const bytes = (text) => new TextEncoder().encode(text).length;

/** When a time-limited user name expires, in Unix seconds; null for other names. */
export function expiryOf(username) {
  const found = /^(\d{9,13})(?=[^\w.]|$)/.exec(username) || /[^\w.](\d{9,13})$/.exec(username);
  return found ? Number(found[1]) : null;
}

/** `{faults: [{level, where, text}], config, changed}`; `config` is null if nothing can be made of it. `now` in ms. */
export function lint(text, now = Date.now()) {
  const faults = [];
  const say = (level, where, key, ...words) => faults.push({ level, where, key, text: F.faults[key](...words) });
  let read;
  try {
    if (!text.trim()) throw Object.assign(new Error('nothing'), { key: 'nothing', at: 0 });
    read = parseLiteral(text);
  } catch (error) {
    if (!error.key) throw error;
    say('error', F.line(text.slice(0, error.at).split('\n').length), error.key, error.what);
    return { faults, config: null, changed: false };
  }
  const config = shape(read, say);
  if (!config) return { faults, config: null, changed: false };
  const seen = new Map();
  config.iceServers = config.iceServers.flatMap((server, i) => oneServer(server, `iceServers[${i}]`, say, now, seen)).filter(Boolean);
  whole(config, say);
  const rank = { error: 0, warning: 1, hint: 2 };
  faults.sort((a, b) => rank[a.level] - rank[b.level]);
  return { faults, config: config.iceServers.length ? config : null, changed: JSON.stringify(read) !== JSON.stringify(config) };
}

/** From whatever was pasted to `{iceServers: […], …}`. */
function shape(read, say) {
  let value = read;
  for (const name of ['v', 'd', 'data', 'result', 'welcome', 'config', 'configuration', 'rtcConfig', 'peerConnectionConfig']) {
    if (value && typeof value === 'object' && !Array.isArray(value) && !value.iceServers && value[name] && typeof value[name] === 'object') value = value[name];
  }
  if (Array.isArray(value)) {
    if (value.some((one) => Array.isArray(one))) value = value.flat();
    return { iceServers: value };
  }
  if (!value || typeof value !== 'object' || value instanceof Unknown) {
    say('error', '', 'nothing');
    return null;
  }
  const key = Object.keys(value).find((name) => /^ice_?servers?(list)?$/i.test(name));
  if (!key) {
    const isServer = [...NAMES.urls, 'urls'].some((name) => name in value);
    if (!isServer) {
      say('error', '', 'noServers');
      return null;
    }
    say('hint', '', 'bareServer');
    return { iceServers: [value] };
  }
  const { [key]: list, ...rest } = value;
  if (key !== 'iceServers') say('error', key, 'rename', key, 'iceServers');
  if (list instanceof Unknown) {
    say('error', 'iceServers', 'unknown', list.name);
    return null;
  }
  if (!Array.isArray(list)) say('error', 'iceServers', 'notArray');
  const config = { iceServers: [].concat(list ?? []) };
  policy(rest, config, say);
  for (const name of ['bundlePolicy', 'rtcpMuxPolicy', 'iceCandidatePoolSize']) if (name in rest) config[name] = rest[name];
  return config;
}

function policy(rest, config, say) {
  const key = ['iceTransportPolicy', 'iceTransports', 'icetransportpolicy', 'iceTransportsPolicy'].find((name) => name in rest);
  if (!key) return;
  if (key !== 'iceTransportPolicy') say('error', key, 'rename', key, 'iceTransportPolicy');
  const given = rest[key];
  config.iceTransportPolicy = /relay/i.test(String(given)) ? 'relay' : 'all';
  if (given !== config.iceTransportPolicy) say('error', 'iceTransportPolicy', 'badPolicy', String(given), config.iceTransportPolicy);
}

function oneServer(given, where, say, now, seen) {
  if (typeof given === 'string') {
    say('error', where, 'stringServer');
    given = { urls: given };
  }
  if (given instanceof Unknown || !given || typeof given !== 'object') {
    say('error', where, 'unknown', given?.name ?? String(given));
    return null;
  }
  const server = {};
  for (const [right, wrongs] of Object.entries(NAMES)) {
    if (right in given) server[right] = given[right];
    for (const wrong of wrongs) {
      if (!(wrong in given)) continue;
      // Twilio sends url beside urls, for old browsers.
      if (right in server) { if (right !== 'urls') say('warning', where, 'twice', wrong, right); continue; }
      say('error', `${where}.${wrong}`, right === 'urls' && wrong === 'url' ? 'url' : 'rename', wrong, right);
      server[right] = given[wrong];
    }
  }
  if ('credentialType' in given && given.credentialType !== 'password') say('error', `${where}.credentialType`, 'credentialType', String(given.credentialType));
  for (const name of ['username', 'credential']) clean(server, name, where, say);
  if (server.urls === undefined) {
    say('error', where, 'noUrls');
    return null;
  }
  const urls = [].concat(server.urls).flatMap((url) => (typeof url === 'string' && /[,\s](?:stuns?|turns?):/.test(url) ? url.split(/[,\s]+/) : [url]));
  const list = [].concat(server.urls);
  if (urls.length !== list.length) say('error', `${where}.urls`, 'joined');
  const account = server.credential !== undefined || server.username !== undefined;
  const fixed = urls.map((url, i) => oneUrl(url, list.length > 1 ? `${where}.urls[${i}]` : `${where}.urls`, say, server, account)).filter(Boolean);
  const kept = fixed.filter((url) => {
    const mark = `${url} ${server.username ?? ''}`;
    if (seen.has(mark)) say('hint', where, 'double', url);
    return !seen.has(mark) && seen.set(mark, where);
  });
  if (!kept.length) return null;
  if (kept.some((url) => url.startsWith('turn'))) login(server, where, say, now);
  const out = { urls: kept.length === 1 && typeof server.urls === 'string' ? kept[0] : kept };
  if (server.username !== undefined) out.username = server.username;
  if (server.credential !== undefined) out.credential = server.credential;
  return out;
}

function clean(server, name, where, say) {
  const value = server[name];
  if (value === undefined) return;
  if (value === null || value instanceof Unknown) {
    say('error', `${where}.${name}`, value ? 'unknown' : 'empty', value?.name ?? name);
    delete server[name];
  } else if (typeof value === 'object') {
    say('error', `${where}.${name}`, 'notString', name);
    server[name] = String(value.password ?? value.accessToken ?? '');
  } else if (typeof value !== 'string') {
    say('error', `${where}.${name}`, 'notString', name);
    server[name] = String(value);
  } else if (value !== value.trim()) {
    say('error', `${where}.${name}`, 'spaces', name);
    server[name] = value.trim();
  }
}

function login(server, where, say, now) {
  for (const name of ['username', 'credential']) {
    if (server[name] === undefined || server[name] === '') say('error', where, 'missing', name);
    else if (/^(<.*>|\.\.\.|…|x{3,}|your[-_ ].*|.*[-_ ]here|changeme)$/i.test(server[name])) say('warning', `${where}.${name}`, 'placeholder', server[name]);
  }
  const { username = '', credential = '' } = server;
  if (expiryOf(username) === null && expiryOf(credential) !== null && !/=$/.test(credential)) {
    say('error', where, 'swapped');
    server.username = credential;
    server.credential = username;
  }
  if (bytes(server.username ?? '') > LONGEST_NAME) say('error', `${where}.username`, 'longName', bytes(server.username), LONGEST_NAME);
  const expiry = expiryOf(server.username ?? '');
  if (expiry === null) return;
  if (expiry > 1e11) say('error', `${where}.username`, 'milliseconds', new Date(expiry).toISOString());
  else if (expiry * 1000 <= now) say('error', `${where}.username`, 'expired', T.ago(now / 1000 - expiry));
  else if (expiry * 1000 - now < 300000) say('warning', `${where}.username`, 'expiresSoon', T.span(expiry - now / 1000));
}

function oneUrl(given, where, say, server, account) {
  if (typeof given !== 'string') {
    say('error', where, 'unknown', given instanceof Unknown ? given.name : String(given));
    return null;
  }
  let url = given;
  const fix = (level, key, ...words) => say(level, where, key, ...words);
  if (/\s/.test(url)) {
    fix('error', 'urlSpaces');
    url = url.replace(/\s+/g, '');
  }
  let [, scheme, rest] = /^([a-z][a-z0-9+.-]*):(.*)$/i.exec(url) ?? [null, '', url];
  // "host:3478" has no scheme, and the host looks like one.
  if (/^\d+([/?]|$)/.test(rest) && !/^(stuns?|turns?)$/i.test(scheme)) [scheme, rest] = ['', url];
  const lower = scheme.toLowerCase();
  const secure = /^(turns|stuns|https|wss|turn-tls|turntls)$/.test(lower);
  const right = /^(stuns?|turns?)$/.test(lower) ? lower : `${account ? 'turn' : 'stun'}${secure ? 's' : ''}`;
  if (!scheme) fix('error', 'noScheme', right);
  else if (lower !== right) fix('error', 'badScheme', scheme, right);
  else if (scheme !== lower) fix('error', 'upperCase', scheme);
  scheme = right;
  if (rest.startsWith('/')) {
    fix('error', 'slashes', scheme);
    rest = rest.replace(/^\/+/, '');
  }
  const cut = rest.search(/[?#&]/);
  let place = cut < 0 ? rest : rest.slice(0, cut);
  const query = cut < 0 ? '' : rest.slice(cut);
  if (place.includes('@')) {
    const [user, host] = [place.slice(0, place.lastIndexOf('@')), place.slice(place.lastIndexOf('@') + 1)];
    fix('error', 'userInUrl');
    const [name, ...secret] = user.split(':');
    if (server.username === undefined && name) server.username = decode(name);
    if (server.credential === undefined && secret.length) server.credential = decode(secret.join(':'));
    place = host;
  }
  if (place.includes('/')) {
    fix('error', 'path');
    [place] = place.split('/');
  }
  let { host, port } = split(place);
  if ((place.match(/:/g) ?? []).length > 1 && !place.startsWith('[')) {
    fix('error', 'brackets');
    host = `[${place}]`;
    port = '';
  }
  if (!host) {
    fix('error', 'noHost');
    return null;
  }
  hosts(host, scheme, fix);
  ({ port } = ports(port, scheme, fix));
  const transport = transports(query, scheme, fix);
  if (transport === 'tls') scheme = scheme === 'stun' ? 'stuns' : 'turns';
  if (transport === 'tls' && isAddress(host)) fix('warning', 'turnsAddress', host);
  const tail = scheme.startsWith('stun') || !transport ? '' : `?transport=${transport === 'tls' ? 'tcp' : transport}`;
  return `${scheme}:${host}${port}${tail}`;
}

const decode = (text) => { try { return decodeURIComponent(text); } catch { return text; } };

function split(place) {
  const found = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/.exec(place);
  return { host: found?.[1] ?? '', port: found?.[2] ?? '' };
}

function hosts(host, scheme, fix) {
  const bare = host.toLowerCase();
  if (scheme === 'turns' && isAddress(host)) fix('warning', 'turnsAddress', host);
  if (/^(localhost|127\..*|\[::1\])$/.test(bare)) fix('warning', 'loopback', host);
  else if (/^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.|\[f[cde])/.test(bare)) fix('hint', 'private', host);
  else if (/(^|\.)example\.(com|org|net)$|[<>{}]|your[-_.]|^my-?(turn|server)/.test(bare)) fix('warning', 'placeholder', host);
  else if (!isAddress(host) && !/^[\w-]+(\.[\w-]+)*\.?$/.test(bare)) fix('error', 'badHost', host);
}

function ports(given, scheme, fix) {
  if (!given) return { port: '' };
  const port = Number(given);
  if (!/^\d+$/.test(given) || port < 1 || port > 65535) {
    fix('error', 'badPort', given);
    return { port: '' };
  }
  if ((port < 1024 && port !== 80 && port !== 443) || OTHERS_PORTS.includes(port)) fix('error', 'portForbidden', port);
  else if (port === 5349 && scheme === 'turn') fix('warning', 'tlsPort', port);
  return { port: `:${port}` };
}

/** What stands behind the host: `udp`, `tcp`, `tls` or nothing. */
function transports(query, scheme, fix) {
  const isStun = scheme.startsWith('stun');
  if (!query || query === '?') {
    if (query) fix('error', 'badQuery', query);
    return '';
  }
  if (isStun) {
    fix('error', 'stunQuery');
    return '';
  }
  const found = /[?&](?:([\w-]+)=)?([\w-]*)/.exec(query);
  const [, key = '', value = ''] = found ?? [];
  const guess = /^(tcp|tpc|tc|tcpp)$/i.test(value) ? 'tcp' : /^(udp|upd|ud|dup)$/i.test(value) ? 'udp' : /^(tls|ssl|tlss|dtls)$/i.test(value) ? 'tls' : '';
  if (query === `?transport=${guess}` && guess !== 'tls') {
    if (scheme === 'turns' && guess === 'udp') {
      fix('error', 'turnsUdp');
      return 'tcp';
    }
    return guess;
  }
  if (guess === 'tls' && key === 'transport') fix('error', 'transportTls', value);
  else fix('error', 'badQuery', query, guess);
  return scheme === 'turns' && guess === 'udp' ? 'tcp' : guess;
}

/** What only shows when all servers are looked at. */
function whole(config, say) {
  const urls = config.iceServers.flatMap((server) => server.urls);
  const relays = urls.filter((url) => url.startsWith('turn'));
  if (urls.length > 5) say('hint', 'iceServers', 'many', urls.length);
  if (!urls.length) return;
  if (!relays.length) say(config.iceTransportPolicy === 'relay' ? 'error' : 'warning', 'iceServers', config.iceTransportPolicy === 'relay' ? 'relayWithout' : 'noRelay');
  else if (!relays.some((url) => url.startsWith('turns:') || url.endsWith('transport=tcp'))) say('hint', 'iceServers', 'onlyUdp');
}
