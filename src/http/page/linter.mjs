// Judges a pasted RTCConfiguration: what is wrong with it, in plain words, and what it should be. Knows no page.
import { parseLiteral, Unknown } from './literal.mjs';
import { count, span } from './ui.mjs';

// Everything that is said, by its weight; {0} and {1} are filled in.
const FAULTS = {
  bad: {
    nothing: 'Paste iceServers, an RTCConfiguration or a turn: address.',
    noServers: 'There are no iceServers in it.',
    unclosedString: 'A string has no end: a quotation mark is missing.',
    unfinished: 'It ends in the middle: a bracket is missing.',
    unexpected: '“{0}” does not belong here.',
    missingComma: 'A comma is missing before “{0}”.',
    tooDeep: 'It is nested too deeply.',
    rename: 'Browsers ignore “{0}”: write “{1}”.',
    notArray: 'iceServers must be a list: put it into [ ].',
    stringServer: 'An address alone is not a server: write { urls: "…" }.',
    unknown: 'Put the value of “{0}” in its place.',
    credentialType: 'credentialType “{0}” is gone from WebRTC: leave it out.',
    noUrls: 'The server has no urls.',
    joined: 'Several addresses are in one string: make them a list.',
    notString: '{0} must be a string.',
    spaces: '{0} has white space at its ends: the login would fail.',
    missing: 'A turn: address needs a {0}, or browsers throw an InvalidAccessError.',
    swapped: 'username and credential are swapped: the credential has the time stamp.',
    longName: 'The user name has {0} bytes; 508 are allowed.',
    milliseconds: 'The time stamp is in milliseconds; servers read seconds.',
    expired: 'By the time stamp in the user name it expired {0} ago. Get a fresh one.',
    urlSpaces: 'White space in an address is a syntax error.',
    noScheme: 'There is no scheme: begin with “{0}:”.',
    badScheme: '“{1}:” is no scheme for this: write “{0}:”.',
    upperCase: 'Write “{1}” in lower case.',
    slashes: '“//” does not belong here; it is a syntax error.',
    userInUrl: 'User and password do not belong here: write username and credential.',
    path: 'There is no path in such an address.',
    brackets: 'An IPv6 address needs brackets: [2001:db8::1].',
    noHost: 'The address has no host.',
    badHost: '“{0}” is no host name.',
    badPort: '“{0}” is no port: 1 to 65535.',
    portForbidden: 'Browsers refuse port {0}, as another protocol has it: use 3478, 443 or 80.',
    badQuery: '“{0}” is not understood: write “?transport=udp” or “?transport=tcp”.',
    stunQuery: 'After stun: “?transport=” is a syntax error.',
    transportTls: 'There is no “transport=tls”: TLS is “turns:” with “?transport=tcp”.',
    turnsUdp: 'Browsers do not speak “turns:” over UDP: use “?transport=tcp”.',
    relayWithout: 'With iceTransportPolicy “relay” and no turn: address nothing can connect.',
    badPolicy: 'iceTransportPolicy “{0}” does not exist: “{1}”.',
  },
  warn: {
    twice: '“{0}” stands beside “{1}” and is ignored.',
    placeholder: '“{0}” looks like a placeholder.',
    expiresSoon: 'The credential expires in {0}.',
    loopback: '“{0}” is reached from this machine alone.',
    tlsPort: 'Port 5349 is usually TLS: is “turns:” meant?',
    turnsAddress: 'Firefox refuses “turns:” with an address ({0}): use the host name.',
    noRelay: 'Without a turn: address calls between strict networks fail.',
  },
  hint: {
    bareServer: 'One server alone belongs into the list iceServers.',
    private: '{0} is private: it is reached in its own network only.',
    double: '{0} is there twice.',
    many: '{0} addresses are tried at once: more than five slow the start down.',
    onlyUdp: 'All is UDP: add ?transport=tcp or turns: for networks that forbid UDP.',
  },
};
const LEVELS = Object.keys(FAULTS);

// What people write for the name of a member.
const NAMES = { urls: /^(ur[li]s?|servers?)$/i, username: /^(user_?(name)?|login)$/i, credential: /^(credentials?|pass(word|wd)?|secret)$/i };
const SERVERS = /^ice_?servers?(list)?$/i;
const HOSTS = [
  [/^(localhost|127\..*|\[::1\])$/, 'loopback'],
  [/^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.|\[f[cde])/, 'private'],
  [/(^|\.)example\.(com|org|net)$|[<>{}]|your[-_.]|^my-?(turn|server)/, 'placeholder'],
  [/^(?!\[.*\]$|[\w-]+(\.[\w-]+)*\.?$)/, 'badHost'],
];
const ADDRESS = /^(\[.*\]|\d{1,3}(\.\d{1,3}){3})$/;
const TRANSPORTS = [['tcp', /^t[cp]+$/i], ['udp', /^[udp]+$/i], ['tls', /^(d?tlss?|ssl)$/i]];
// Ports at which browsers refuse a TURN server, besides those below 1024 (Fetch §2.9).
const OTHERS_PORTS = [1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080];
const PLACEHOLDER = /^(<.*>|\.\.\.|…|x{3,}|your[-_ ].*|.*[-_ ]here|changeme)$/i;

const isObject = (value) => Boolean(value) && typeof value === 'object' && !(value instanceof Unknown);
const nameOf = (value) => value?.name ?? String(value);
const find = (object, ...patterns) => Object.keys(object).find((name) => patterns.some((pattern) => pattern.test(name)));

/** `{faults: [{level, where, key, text}], config, summary}`; `config` is null if nothing can be made of it. `now` in ms. */
export function lint(text, now = Date.now()) {
  const faults = [];
  const say = (where, key, ...words) => {
    const level = LEVELS.find((one) => key in FAULTS[one]);
    faults.push({ level, where, key, text: FAULTS[level][key].replace(/\{(\d)\}/g, (_, n) => words[n]) });
    return null;
  };
  let config = null;
  try {
    config = shape(parseLiteral(text), say);
  } catch (error) {
    if (!error.key) throw error;
    say(`line ${text.slice(0, error.at).split('\n').length}`, error.key, error.what);
  }
  if (config) {
    const seen = new Set();
    config.iceServers = config.iceServers.map((server, i) => oneServer(server, `iceServers[${i}]`, say, now, seen)).filter(Boolean);
    whole(config, say);
    if (!config.iceServers.length) config = null;
  }
  faults.sort((one, other) => LEVELS.indexOf(one.level) - LEVELS.indexOf(other.level));
  const bad = faults.filter(({ level }) => level === 'bad').length;
  const found = bad ? `${count(bad, 'fault')}. What can be mended is mended below.` : 'No fault.';
  return { faults, config, summary: config ? found : 'Nothing usable was found.' };
}

/** From whatever was pasted to `{iceServers: […], …}`. */
function shape(read, say) {
  let value = read;
  // Many services wrap it.
  while (value && !Array.isArray(value) && !find(value, SERVERS, NAMES.urls)) value = Object.values(value).find(isObject);
  if (!value) return say('', 'noServers');
  if (Array.isArray(value)) return { iceServers: value.flat() };
  const [key, policy] = [find(value, SERVERS), find(value, /^iceTransports?(Policy)?$/i)];
  if (!key) {
    say('', 'bareServer');
    return { iceServers: [value] };
  }
  if (key !== 'iceServers') say(key, 'rename', key, 'iceServers');
  if (value[key] instanceof Unknown) return say('iceServers', 'unknown', value[key].name);
  if (!Array.isArray(value[key])) say('iceServers', 'notArray');
  const config = { iceServers: [].concat(value[key] ?? []) };
  if (policy) {
    if (policy !== 'iceTransportPolicy') say(policy, 'rename', policy, 'iceTransportPolicy');
    const right = /relay/i.test(value[policy]) ? 'relay' : 'all';
    config.iceTransportPolicy = right;
    if (value[policy] !== right) say('iceTransportPolicy', 'badPolicy', nameOf(value[policy]), right);
  }
  for (const name of ['bundlePolicy', 'rtcpMuxPolicy', 'iceCandidatePoolSize']) if (name in value) config[name] = value[name];
  return config;
}

function oneServer(pasted, where, say, now, seen) {
  if (typeof pasted === 'string') say(where, 'stringServer');
  const given = typeof pasted === 'string' ? { urls: pasted } : pasted;
  if (!isObject(given)) return say(where, 'unknown', nameOf(given));
  const server = members(given, where, say);
  if (server.urls === undefined) return say(where, 'noUrls');
  const list = [].concat(server.urls);
  const urls = list.flatMap((url) => (/[,\s](stuns?|turns?):/.test(url) ? url.split(/[,\s]+/) : [url]));
  if (urls.length !== list.length) say(`${where}.urls`, 'joined');
  const kept = urls.map((url, i) => oneUrl(url, `${where}.urls${list.length > 1 ? `[${i}]` : ''}`, say, server)).filter((url) => {
    const mark = `${url} ${server.username ?? ''}`;
    if (url && seen.has(mark)) say(where, 'double', url);
    return url && !seen.has(mark) && seen.add(mark);
  });
  if (!kept.length) return null;
  if (kept.some((url) => url.startsWith('turn'))) login(server, where, say, now);
  return { ...server, urls: typeof server.urls === 'string' && kept.length === 1 ? kept[0] : kept };
}

/** Urls, username and credential, whatever they are called, and in this order. */
function members(given, where, say) {
  const server = {};
  for (const [right, names] of Object.entries(NAMES)) {
    if (right in given) server[right] = given[right];
    for (const wrong of Object.keys(given).filter((name) => names.test(name) && name !== right)) {
      if (!(right in server)) {
        say(`${where}.${wrong}`, 'rename', wrong, right);
        server[right] = given[wrong];
      // Twilio sends url beside urls, for old browsers.
      } else if (right !== 'urls') say(where, 'twice', wrong, right);
    }
    const value = server[right];
    if (right === 'urls' || value === undefined) continue;
    const fault = value instanceof Unknown ? 'unknown' : typeof value !== 'string' ? 'notString' : value !== value.trim() && 'spaces';
    if (fault) say(`${where}.${right}`, fault, value?.name ?? right);
    server[right] = typeof value === 'object' ? '' : String(value).trim();
  }
  const { credentialType = 'password' } = given;
  if (credentialType !== 'password') say(`${where}.credentialType`, 'credentialType', nameOf(credentialType));
  return server;
}

/** When a time-limited user name expires, in Unix seconds; undefined for other names. */
const expiryOf = (username = '') => (/^(\d{9,13})(?=[^\w.]|$)/.exec(username) ?? /[^\w.](\d{9,13})$/.exec(username))?.[1];

function login(server, where, say, now) {
  for (const name of ['username', 'credential']) {
    if (!server[name]) say(where, 'missing', name);
    else if (PLACEHOLDER.test(server[name])) say(`${where}.${name}`, 'placeholder', server[name]);
  }
  const { username, credential } = server;
  if (!expiryOf(username) && expiryOf(credential) && !credential.endsWith('=')) {
    say(where, 'swapped');
    Object.assign(server, { username: credential, credential: username });
  }
  const place = `${where}.username`;
  const { length } = new TextEncoder().encode(server.username);
  if (length > 508) say(place, 'longName', length);
  const expiry = Number(expiryOf(server.username));
  const left = expiry - now / 1000;
  if (expiry > 1e11) say(place, 'milliseconds');
  else if (left <= 0) say(place, 'expired', span(-left));
  else if (left < 300) say(place, 'expiresSoon', span(left));
}

/** The address as it should be, or null. What it has of a login goes to its server. */
function oneUrl(given, where, say, server) {
  if (typeof given !== 'string') return say(where, 'unknown', nameOf(given));
  const fix = (key, ...words) => say(where, key, ...words);
  const repair = (text, pattern, key, make = '') => {
    if (pattern.test(text)) fix(key);
    return text.replace(pattern, make);
  };
  const url = repair(given, /\s+/g, 'urlSpaces');
  // "host:3478" has no scheme, and the host looks like one.
  const [, written = '', rest] = /^(?:((?:stun|turn)s?|[a-z][\w+.-]*(?!:\d+(?:[/?]|$))):)?(.*)$/i.exec(url);
  const lower = written.toLowerCase();
  const guess = `${'credential' in server || 'username' in server ? 'turn' : 'stun'}${/^(turns|stuns|https|wss|turn-?tls)$/.test(lower) ? 's' : ''}`;
  let scheme = /^(stun|turn)s?$/.test(lower) ? lower : guess;
  if (written !== scheme) fix(!written ? 'noScheme' : lower === scheme ? 'upperCase' : 'badScheme', scheme, written);

  const [, before, query] = /^([^?#&]*)(.*)$/.exec(repair(rest, /^\/+/, 'slashes'));
  let place = repair(before, /^(.*)@/, 'userInUrl', (_, user) => {
    const [name, ...secret] = user.split(':').map(decode);
    if (name) server.username ??= name;
    if (secret.length) server.credential ??= secret.join(':');
    return '';
  });
  place = repair(place, /\/.*/, 'path');
  place = repair(place, /^[^[]*:.*:.*/, 'brackets', '[$&]');
  const [, host, port] = /^(\[[^\]]*\]|[^:]*):?(.*)$/.exec(place);
  if (!host) return fix('noHost');
  const known = HOSTS.find(([pattern]) => pattern.test(host.toLowerCase()));
  if (known) fix(known[1], host);
  const valid = /^\d+$/.test(port) && port > 0 && port < 65536;
  if (port && !valid) fix('badPort', port);
  else if (port && ((port < 1024 && !/^(80|443)$/.test(port)) || OTHERS_PORTS.includes(Number(port)))) fix('portForbidden', port);
  else if (port === '5349' && scheme === 'turn') fix('tlsPort');

  let transport = transportOf(query, scheme, fix);
  if (transport === 'tls') [scheme, transport] = ['turns', 'tcp'];
  if (scheme === 'turns' && ADDRESS.test(host)) fix('turnsAddress', host);
  return `${scheme}:${host}${valid ? `:${port}` : ''}${transport && `?transport=${transport}`}`;
}

const decode = (text) => { try { return decodeURIComponent(text); } catch { return text; } };

/** What the query means: `udp`, `tcp`, `tls` or nothing. */
function transportOf(query, scheme, fix) {
  if (!query) return '';
  if (scheme.startsWith('stun')) {
    fix(query === '?' ? 'badQuery' : 'stunQuery', query);
    return '';
  }
  const [, key, value] = /^.(?:([\w-]+)=)?([\w-]*)/.exec(query);
  const [meant = ''] = TRANSPORTS.find(([, pattern]) => pattern.test(value)) ?? [];
  const isDtls = scheme === 'turns' && meant === 'udp';
  if (meant === 'tls' && key === 'transport') fix('transportTls');
  else if (!meant || query !== `?transport=${meant}`) fix('badQuery', query);
  else if (isDtls) fix('turnsUdp');
  return isDtls ? 'tcp' : meant;
}

/** What only shows when all servers are looked at. */
function whole({ iceServers, iceTransportPolicy }, say) {
  const urls = iceServers.flatMap((server) => server.urls);
  const relays = urls.filter((url) => url.startsWith('turn'));
  if (urls.length > 5) say('iceServers', 'many', urls.length);
  if (!urls.length) return;
  if (!relays.length) say('iceServers', iceTransportPolicy === 'relay' ? 'relayWithout' : 'noRelay');
  else if (!relays.some((url) => /^turns:|=tcp$/.test(url))) say('iceServers', 'onlyUdp');
}
