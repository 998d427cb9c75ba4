// The same servers in the words of other programs. Where a program wants the operator's secret, only its place is named:
// the page does not have it.
import { parseUrl } from './urls.mjs';

const SECRET = 'the secret of [auth] secrets in relais.toml';
const quote = (text) => JSON.stringify(text);
const bare = (host) => host.replace(/^\[|\]$/g, '');

/** All forms for a list of servers: `{id: text}`. `api` is the address of the iceServers, for curl. */
export function snippets(servers, api) {
  const urls = servers.flatMap((server) => server.urls);
  const places = urls.map(parseUrl).filter(Boolean);
  const turns = places.filter(({ scheme }) => scheme.startsWith('turn'));
  const stun = places.find(({ scheme }) => scheme === 'stun');
  const turnUrls = urls.filter((url) => url.startsWith('turn'));
  const json = JSON.stringify({ iceServers: servers }, null, 2);
  const nextcloud = [];
  for (const [place, transports] of group(turns)) {
    const scheme = transports.includes('tls') ? 'turns' : 'turn';
    const kinds = transports.filter((t) => t !== 'tls').join(',') || 'tcp';
    nextcloud.push(`occ talk:turn:add ${scheme} ${place} ${kinds} --secret='${SECRET}'`);
  }
  const services = turns.map(({ host, port, transport }) => `  { type = "${transport === 'tls' ? 'turns' : 'turn'}", host = "${bare(host)}", port = ${port}, transport = "${transport === 'udp' ? 'udp' : 'tcp'}", secret = true, ttl = 14400, algorithm = "turn" },`);
  if (stun) services.unshift(`  { type = "stun", host = "${bare(stun.host)}", port = ${stun.port} },`);
  return {
    json,
    js: `const connection = new RTCPeerConnection(${json.replace(/"(\w+)":/g, '$1:')});\n`,
    curl: `curl -s ${api}`,
    nextcloud: `${[...nextcloud, ...(stun ? [`occ talk:stun:add ${stun.host}:${stun.port}`] : [])].join('\n')}\n`,
    synapse: `# homeserver.yaml\nturn_uris:\n${turnUrls.map((url) => `  - ${quote(url)}\n`).join('')}turn_shared_secret: "${SECRET}"\nturn_user_lifetime: 4h\nturn_allow_guests: true\n`,
    jitsi: `-- prosody: conf.d/DOMAIN.cfg.lua, with "external_services" in modules_enabled\nexternal_service_secret = "${SECRET}"\nexternal_services = {\n${services.join('\n')}\n}\n`,
    livekit: `# livekit.yaml\nrtc:\n  turn_servers:\n${turns.map(({ host, port, transport }) => `    - host: ${quote(bare(host))}\n      port: ${port}\n      protocol: ${transport}\n      secret: "${SECRET}"\n      ttl: 14400\n`).join('')}`,
    mediamtx: `# mediamtx.yml\nwebrtcICEServers2:\n${turnUrls.map((url) => `  - url: ${quote(url)}\n    username: AUTH_SECRET\n    password: "${SECRET}"\n`).join('')}`,
  };
}

/** The transports of each host and port; TLS stands alone. */
function group(turns) {
  const found = new Map();
  for (const { host, port, transport } of turns) {
    const key = `${host}:${port}`;
    const mark = transport === 'tls' ? `${key} tls` : key;
    found.set(mark, [key, [...(found.get(mark)?.[1] ?? []), transport]]);
  }
  return [...found.values()];
}
