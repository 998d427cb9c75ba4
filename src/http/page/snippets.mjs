// The same servers in the words of other programs. Where a program wants the operator's secret, only its place is named:
// the page does not have it.
import { parseUrl } from './servers.mjs';

const SECRET = 'the secret of [auth] secrets in relais.toml';
const lines = (head, all, make, tail = '') => `${head}\n${all.map(make).join('')}${tail}`;

/** Each host and port with its transports; TLS stands alone. */
function talk({ turns, stun }) {
  const found = new Map();
  for (const { type, host, port, wire } of turns) {
    const key = `${type} ${host}:${port}`;
    found.set(key, [...(found.get(key) ?? []), wire]);
  }
  const tail = stun ? `occ talk:stun:add ${stun.host}:${stun.port}\n` : '';
  return [...found].map(([key, wires]) => `occ talk:turn:add ${key} ${wires.join(',')} --secret='${SECRET}'\n`).join('') + tail;
}

function prosody({ turns, stun }) {
  const services = turns.map(({ type, bare, port, wire }) => (
    `type = "${type}", host = "${bare}", port = ${port}, transport = "${wire}", secret = true, ttl = 14400, algorithm = "turn"`));
  if (stun) services.unshift(`type = "stun", host = "${stun.bare}", port = ${stun.port}`);
  const head = '-- prosody: conf.d/DOMAIN.cfg.lua, with "external_services" in modules_enabled\n'
    + `external_service_secret = "${SECRET}"\nexternal_services = {`;
  return lines(head, services, (service) => `  { ${service} },\n`, '}\n');
}

/** A form's name, and what it makes of the servers. A note stands where it is not said that the program has the secret. */
export const FORMS = {
  js: ['JavaScript', ({ json }) => `const connection = new RTCPeerConnection(${json.replace(/"(\w+)":/g, '$1:')});\n`,
    'The credential expires; get a fresh one for every call.'],
  json: ['JSON', ({ json }) => json, 'Goes unchanged into new RTCPeerConnection().'],
  curl: ['curl', ({ api }) => `curl -s ${api}`, 'Open to programs on the server itself; elsewhere with an API key.'],
  nextcloud: ['Nextcloud Talk', talk],
  synapse: ['Matrix (Synapse)', ({ turns }) => lines('# homeserver.yaml\nturn_uris:', turns, ({ url }) => `  - "${url}"\n`,
    `turn_shared_secret: "${SECRET}"\nturn_user_lifetime: 4h\nturn_allow_guests: true\n`)],
  jitsi: ['Jitsi (Prosody)', prosody],
  livekit: ['LiveKit', ({ turns }) => lines('# livekit.yaml\nrtc:\n  turn_servers:', turns, ({ bare, port, transport }) => (
    `    - host: "${bare}"\n      port: ${port}\n      protocol: ${transport}\n      secret: "${SECRET}"\n      ttl: 14400\n`))],
  mediamtx: ['MediaMTX', ({ turns }) => lines('# mediamtx.yml\nwebrtcICEServers2:', turns, ({ url }) => (
    `  - url: "${url}"\n    username: AUTH_SECRET\n    password: "${SECRET}"\n`))],
};

/** A list of servers in the form of that name. `api` is the address of the iceServers, for curl. */
export function snippet(form, servers, api) {
  const places = servers.flatMap(({ urls }) => urls).map((url) => {
    const { scheme, host = '', port, transport } = parseUrl(url) ?? {};
    return { url, type: scheme, host, bare: host.replace(/^\[|\]$/g, ''), port, transport, wire: transport === 'udp' ? 'udp' : 'tcp' };
  });
  const turns = places.filter(({ type }) => /^turn/.test(type));
  return FORMS[form][1]({ turns, api, stun: places.find(({ type }) => type === 'stun'), json: JSON.stringify({ iceServers: servers }, null, 2) });
}
