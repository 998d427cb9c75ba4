// Every text of the page, so that it can be translated in one place.

const round = (value, digits) => Number(value).toFixed(digits);
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
const port = (place) => (place ? `port ${place.port}` : 'its port');

const span = (seconds) => {
  const s = Math.max(0, Math.round(seconds));
  const [value, unit] = s < 90 ? [s, 'second'] : s < 5400 ? [Math.round(s / 60), 'minute'] : s < 172800 ? [Math.round(s / 3600), 'hour'] : [Math.round(s / 86400), 'day'];
  return `${value} ${unit}${value === 1 ? '' : 's'}`;
};

// What the server means (RFC 8656 §19, RFC 8489 §14.8), and what helps.
const CODES = {
  300: ['The server sends us to another server.'], 400: ['The server did not understand the request.', 'Something in between may change packets.'],
  401: ['The server refuses the login.', 'User name, credential or secret are wrong, or the credential has expired. Get fresh iceServers.'],
  403: ['The server forbids it.', 'Its rules deny this peer address (peers.allow), or it is stopping.'],
  420: ['The server does not know an attribute.', 'Is it a TURN server, and recent?'],
  437: ['The server still has an allocation for this port.', 'A new attempt uses another port: try again.'],
  438: ['The nonce was too old.', 'Browsers try again by themselves; a NAT that changes ports causes it too.'],
  440: ['The server has no address of that family.', 'It relays IPv4 or IPv6 alone (relay.addresses).'],
  441: ['The allocation belongs to other credentials.', 'Wait until it has expired, or use the first ones.'],
  442: ['The server does not relay over that transport.'], 443: ['The peer has an address of the other family.', 'Relay and peer must both have IPv4 or both IPv6.'],
  486: ['This user has too many allocations.', 'Wait until old ones end, or raise limits.allocations_per_user.'],
  500: ['The server has an internal error.', 'Its log says more.'], 508: ['The server has no relay port or memory left.', 'See relay.ports.'],
  600: ['The browser could not send.', 'A firewall or an extension of the browser may forbid it.'],
  701: ['No answer from the server.', 'Wrong address or port, nothing listens there, or a firewall is in between.'],
};

export const T = {
  span,
  ago: (seconds) => `${span(seconds)} ago`,
  ms: (value) => (known(value) ? `${round(value, value < 10 ? 1 : 0)} ms` : '–'),
  percent: (value) => (known(value) ? `${round(value, value > 0 && value < 10 ? 1 : 0)} %` : '–'),
  rate: (kbit) => (!known(kbit) ? '–' : kbit >= 1000 ? `${round(kbit / 1000, 1)} Mbit/s` : `${round(kbit, 0)} kbit/s`),
  rates: (down, up) => `↓ ${round(down / 1000, 1)}  ↑ ${round(up / 1000, 1)} Mbit/s`,
  bytes: (n) => (n >= 1e6 ? `${round(n / 1e6, 1)} MB` : n >= 1000 ? `${round(n / 1000, 1)} kB` : `${n} B`),
  packets: (n) => `${n} packet${n === 1 ? '' : 's'}`,
  list: (words) => (words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`),
  code: (code, own = '') => (code === 701 && /lookup/i.test(own) ? T.why.dns() : CODES[code] ?? [`Error ${code} ${own}.`]),
  shownOf: (n, all) => `${n} of ${all} shown`,

  way: { udp: 'UDP', tcp: 'TCP', tls: 'TLS', peers: 'Relay ports' },
  idle: { udp: 'The direct way, and the fastest.', tcp: 'Where UDP is forbidden.', tls: 'Where only what looks like HTTPS gets out.', peers: 'From the relay to the other side.' },
  state: { wait: 'not tested', run: 'testing', good: 'works', warn: 'restricted', bad: 'fails', off: 'not tested' },
  from: { server: 'The server says so.', browser: 'As far as the browser can tell.' },
  headline: {
    wait: 'Does the relay work from here?',
    how: 'This page talks to itself through the relay, over UDP, TCP and TLS, for some seconds and with at most 50 MB.',
    running: 'Testing …',
    all: (ways) => `The relay works, over ${ways}.`,
    some: (good, bad) => `The relay works over ${good}, but not over ${bad}.`,
    onlyInside: (ways) => `The relay can be reached over ${ways}, but its own ports cannot.`,
    none: 'The relay does not work from here.',
    nothing: 'There is no relay to test: no turn: address in the iceServers.',
    cannot: 'The test could not begin.',
    noWebrtc: 'This browser has no WebRTC.',
  },
  offered: {
    udp: 'No turn: address over UDP is offered.',
    tcp: 'No turn: address over TCP is offered.',
    tls: 'No turns: address is offered: that takes listen.tls with a certificate, and a host name (http.host).',
  },
  connecting: 'Connecting …',
  measuring: 'Connected. Measuring …',
  measured: ({ p99, loss }, mbit) => `99 % within ${T.ms(p99)} · ${T.percent(loss * 100)} lost · ${round(mbit, mbit < 10 ? 1 : 0)} Mbit/s`,
  peersGood: (address) => `The relay reaches ${address || 'this browser'} from its own ports, and is reached there.`,
  peersNeedUdp: 'Needs UDP between this browser and the server.',
  peersNeedRelay: 'Needs a relay that works.',
  noPing: 'The connection was there, but no message came back.',
  why: {
    answersLost: (transport) => ['The server made an allocation, but its answer did not come back.', transport === 'udp' ? 'A firewall or NAT lets UDP out and no answer in.' : 'Something in between ends the connection.'],
    noData: (sums) => [sums ? `The relay made its addresses and passed on ${sums.to_peers.packets} packets to peers and ${sums.to_client.packets} back, but no connection came of them.` : 'The relay gave addresses, but nothing came through them.', 'Behind NAT the server must know its public address (relay.external).'],
    dns: (place) => [`The browser finds no address of ${place ? place.host : 'of the server'}.`, 'The name must be in DNS. Is it misspelt?'],
    unreached: (transport, place, sure) => [`${sure ? 'Nothing of it has reached the server' : 'No answer from the server'}: ${transport.toUpperCase()} to ${port(place)} is blocked between here and there.`, transport === 'udp' ? 'Open it in the firewalls on both sides. Networks that forbid UDP need TCP or TLS on port 443.' : 'Open it in the firewalls on both sides, or listen on 443 too.'],
    tls_name: (place) => [`The server’s certificate is not for the name ${place.host}, so the browser refuses it.`, 'Use the name that the certificate has (http.host), or get a certificate for this one.'],
    tls_self_signed: (place) => [`The server has signed its certificate for ${place.host} itself, and browsers do not take that for TURN.`, 'Get one from an authority, or let this device trust this one.'],
    tls_unreached: (place, named) => [`No TLS connection with ${place ? `${place.host}:${place.port}` : 'the server'} came about: ${named ? 'the certificate is for this name, but this browser does not trust who signed it' : 'the certificate is not accepted'}, or the port is blocked.`, 'The certificate must come with its chain and lead to an authority that the browser knows. Open the address in a tab: there the browser says what it thinks of it.'],
    peerBlocked: (address, out, back, relayed) => [`The relay ${out ? `sent ${out} packets from ${relayed || 'its port'} to ${address || 'this browser'}` : `could send nothing to ${address || 'this browser'}`}, and ${back ? `only ${back} came back` : 'nothing came back'}: its relay ports are blocked.`, 'Open the UDP ports of relay.ports (49152-65535) on the server in both directions: in its own firewall, in its provider’s, and in those of containers.'],
    peerUnknown: (address) => [`The relay does not reach ${address || 'this browser'} from its own ports.`, 'Open the UDP ports of relay.ports (49152-65535) on the server. If this browser has a private address, peers.allow must name it.'],
  },
  cure: { browser: 'The browser says this; check the pasted iceServers.' },

  viewOf: (name, verified) => (verified ? `Of the credential ${name}.` : `The credential ${name} is not one of this server’s. Only what was refused to your own address is shown.`),
  viewState: { idle: 'Begins with a test or a call.', missing: 'This server does not show its view: the page goes on with what the browser knows.', refused: 'The server does not answer at the moment.' },
  method: (name) => ({ allocate: 'Allocate', refresh: 'Refresh', create_permission: 'CreatePermission', channel_bind: 'ChannelBind', send: 'Send', connect: 'Connect', data: 'Data' }[name] ?? name ?? ''),
  ended: (why) => `ended: ${why}`,
  expiresIn: (seconds) => `in ${span(seconds)}`,

  answered: (status) => `The server answered ${status}.`,
  socketSilent: 'The server did not answer in time.',
  socketBroke: 'The connection to the server broke.',
  socketShut: 'The signaling socket could not be opened.',
  noCamera: (why) => `No camera or microphone (${why}); sending the test picture.`,
  notOffered: (transport) => `The server offers no turn: address over ${transport}.`,
  https: (url, trusted) => `Go on at ${url}${trusted ? '' : ' (the browser will ask about its certificate, which the server has signed itself)'}`,
  joining: 'Joining …',
  invited: 'You are invited to a room. Press Join.',
  calling: (n) => `Calling ${n} …`,
  waiting: 'Waiting for somebody. Open the link on another device, or in another tab.',
  outOfRoom: (why) => `Out of the room: ${why}`,
  hasLeft: (who) => `${who} has left.`,
  noCall: (who, why) => `No call to ${who}: ${why}`,
  hungUp: 'Hung up.',
  inRoom: 'in the room',
  videoOf: (who) => `Video of ${who}`,
  connection: { new: 'calling', connecting: 'connecting', connected: 'connected', disconnected: 'interrupted', failed: 'failed', closed: 'ended' },
  nobody: 'There is nobody to send to.',
  channelShut: 'The data channel is not open.',
  channelClosed: 'The data channel was closed.',
  transferring: 'A transfer is under way already.',
  received: (n, who, ok, sum) => `Received ${n} bytes from ${who}: checksum ${ok ? 'right' : 'WRONG'} (${sum})`,
  sent: (got) => `Sent ${got.bytes} bytes in ${round(got.seconds, 1)} s (${round(got.mbit, 1)} Mbit/s): checksum ${got.ok ? 'right' : 'WRONG'} (${got.checksum})`,

  forms: { js: 'JavaScript', json: 'JSON', curl: 'curl', nextcloud: 'Nextcloud Talk', synapse: 'Matrix (Synapse)', jitsi: 'Jitsi (Prosody)', livekit: 'LiveKit', mediamtx: 'MediaMTX' },
  formNote: (form) => ({ js: 'The credential expires; get a fresh one for every call.', json: 'Goes unchanged into new RTCPeerConnection().', curl: 'Open to programs on the server itself; elsewhere with an API key.' }[form] ?? `${T.forms[form]} makes credentials itself, with the secret that only the operator of the server has.`),

  th: {
    transport: 'Over', client: 'You, as seen', relayed: 'Relayed address', permissions: 'Permitted peers', channels: 'Channels', firstOut: 'First to peer', firstIn: 'First to you', bytes: 'To peers, to you', end: 'Ends',
    with: 'With', path: 'Path', rtt: 'Round trip', out: 'Out', in: 'In', jitter: 'Jitter', loss: 'Loss', frames: 'Frames',
    ms: 'ms', for: 'For', type: 'Type', foundation: 'Foundation', protocol: 'Protocol', address: 'Address', port: 'Port', priority: 'Priority', relayProtocol: 'Relay by', url: 'Server',
  },
  charts: { rate: 'Bit rate', rtt: 'Round trip', jitter: 'Jitter', loss: 'Loss' },
  types: { host: 'host', srflx: 'server reflexive', relay: 'relay', error: 'errors' },
  page: {
    title: 'Relais: try the relay', skip: 'Skip to the test', subtitle: 'STUN and TURN relay', sections: 'Sections',
    view: 'Server’s view', call: 'Call', candidates: 'Candidates', ice: 'iceServers', lint: 'Linter',
    test: 'Test the relay', testAgain: 'Test again', testing: 'Testing …', save: 'Save a report', results: 'Result for each way',
    pasted: 'In use: the iceServers that you pasted.', ownServers: 'Use this server’s own again',
    viewTitle: 'The server’s view', viewHelp: 'What the server has seen of your credential: it knows what a browser can only guess.',
    noAllocations: 'No allocation.', refusals: 'Refused', allocations: 'Allocations',
    callTitle: 'Call somebody', callHelp: 'Both open this page, join the same room, and talk through the relay.',
    room: 'Room', freshRoom: 'a fresh one', name: 'Your name', send: 'Send', camera: 'Camera and microphone', synthetic: 'Test picture and tone', dataOnly: 'Data only',
    relayOnly: 'Relay only', transport: 'To the relay over', any: 'any transport', join: 'Join', joinAnew: 'Join anew', mute: 'Mute', unmute: 'Unmute', hangup: 'Hang up',
    insecure: 'Browsers give camera and microphone to pages from https:// or localhost alone. Here a test picture and a tone are sent instead; all else works as well.',
    link: 'Link for the other one', qr: 'The link as a QR code', members: 'In the room', you: 'You',
    message: 'Message', messages: 'Messages', to: 'To', transfer: 'Send 10 MB with checksum', progress: 'Transfer', figures: 'Live figures', noCall: 'No call.',
    filterType: 'Show', protocol: 'Protocol', noneYet: 'None yet.', noneFit: 'None of this kind.', hidden: 'hidden', errorType: 'error',
    iceTitle: 'iceServers for your own program', form: 'For', getIce: 'Get fresh ones', copy: 'Copy', copied: 'Copied', notAsked: 'Not asked for yet.',
    lintTitle: 'Check a configuration', lintHelp: 'Paste an RTCConfiguration or iceServers, as JavaScript or JSON, of any server. It stays in this page, and none of it is run.', lintInput: 'Configuration', lintHint: '{ iceServers: [{ url: "turn://turn.example.org", username: "…", password: "…" }] }',
    lintButton: 'Check it', corrected: 'Corrected', usePasted: 'Use it for the tests', tryLogin: 'Try another login on the same servers', username: 'User name', credential: 'Credential', tryUrl: 'Address', tryUrlHint: 'this server’s',
  },
};
