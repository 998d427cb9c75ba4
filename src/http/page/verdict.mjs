// Why a test failed. What the server knows comes before what the browser says, and that before what is likely. Pure:
// everything it judges is handed in.
import { isLookup, list, ofCode } from './ui.mjs';

// Ms; the server's clock is read over the network.
const SLACK = 1500;

// What every client meets on its way, not reasons: steps of the login, and packets that are ahead of their permission.
export const isReason = ({ cause, method }) => !/^(no_credentials|stale_nonce|no_permission)$/.test(cause)
  && !(method === 'data' && cause === 'peer_denied');
const byPeer = ({ peer, cause }) => peer || cause === 'peer_denied';

/** What the server saw of one test, oldest first; `since` is the server's time at its beginning. */
function seen(view, since, transport) {
  const time = ({ at, created }) => Date.parse(at ?? created);
  const [allocations, refusals] = [view?.allocations, view?.refusals].map((all = []) => all
    .filter((one) => time(one) >= since - SLACK && (!transport || one.transport === transport)).sort((x, y) => time(x) - time(y)));
  return { allocations, refusals: refusals.filter(isReason), all: refusals };
}

const fromServer = ({ cause, message, cure }) => ({ cause, text: message, cure, from: 'server' });
const own = (cause, known, text, cure) => ({ cause, text, cure, from: known ? 'server' : 'browser' });
const ofBrowser = (text) => own('browser', false, text, 'The browser says this; check the pasted iceServers.');
const packets = (allocations, way) => allocations.reduce((all, one) => all + (one[way]?.packets ?? 0), 0);

/** Of TLS that did not come about. Browsers do not say why; the server knows its certificate (`about`). */
function explainTls({ host, port }, { certificate, trusted }) {
  if (certificate === false) {
    return own('tls_name', true, `The server’s certificate is not for the name ${host}, so the browser refuses it.`,
      'Use its name (http.host), or get one for this name.');
  }
  if (certificate && trusted === false) {
    return own('tls_self_signed', true, `The server has signed its certificate for ${host} itself, and browsers do not take that for TURN.`,
      'Get one from an authority, or let this device trust this one.');
  }
  const trust = certificate ? 'the certificate is for this name, but this browser does not trust who signed it' : 'the certificate is not accepted';
  return own('tls_unreached', false, `No TLS with ${host}:${port}: ${trust}, or the port is blocked.`,
    'The certificate needs its chain, and an authority that the browser knows. Open the address in a tab: there the browser says why.');
}

/**
 * Of a relay test that did not come about. `errors` are the browser's `{code, text, url}`, `gathered` counts relayed
 * candidates, `place` is the `{host, port}` that was tried, `about` what the server says of its certificate for that host.
 */
export function explain({ transport, place, errors = [], gathered = 0, view = null, since = 0, error = '', about = {} }) {
  const { allocations, refusals } = seen(view, since, transport);
  const isUdp = transport === 'udp';
  const fatal = refusals.findLast((one) => !byPeer(one));
  if (fatal && !gathered) return fromServer(fatal);
  if (gathered || allocations.length) {
    const refusal = refusals.find(byPeer) ?? fatal;
    if (refusal) return fromServer(refusal);
    if (!gathered) {
      return own('answers_lost', true, 'The server made an allocation, but its answer did not come back.',
        isUdp ? 'A firewall or NAT lets UDP out, but no answer in.' : 'Something in between ends the connection.');
    }
    const sums = ['to_peers', 'to_client'].map((way) => packets(allocations, way));
    const passed = allocations.length ? `, and passed on ${sums[0]} packets to peers and ${sums[1]} back` : '';
    return own('no_data', view, `The relay gave addresses${passed}, but no connection came of them.`,
      'Behind NAT the server must know its public address (relay.external).');
  }
  const answered = errors.find(({ code }) => code >= 300 && code < 700);
  if (errors.some(({ text }) => isLookup(text))) return own('dns', false, ...ofCode('dns'));
  if (answered) return own(`code_${answered.code}`, false, ...ofCode(answered.code, answered.text));
  if (error) return ofBrowser(error);
  if (transport === 'tls') return explainTls(place, about);
  const nothing = view ? 'Nothing of it has reached the server' : 'No answer from the server';
  return own('unreached', view, `${nothing}: ${transport.toUpperCase()} to port ${place.port} is blocked between here and there.`,
    `Open it in the firewalls on both sides. ${isUdp ? 'Networks that forbid UDP need TCP or TLS on port 443.' : 'Or listen on 443 too.'}`);
}

/** Of the test in which the relay sends to an address of this browser that is not a relayed one. */
export function explainPeer({ view = null, since = 0, address = '', error = '' }) {
  const { allocations, refusals, all } = seen(view, since);
  const [out, back] = [packets(allocations, 'to_peers'), packets(allocations, 'to_client')];
  // Of packets alone it is a reason if none got through.
  const denied = refusals.findLast(byPeer) ?? (!out && all.findLast(byPeer));
  if (denied) return { ...fromServer(denied), state: 'warn' };
  if (refusals.length) return fromServer(refusals.at(-1));
  const [here, open] = [address || 'this browser', 'Open the UDP ports of relay.ports (49152-65535) on the server'];
  if (!view) {
    return own('peer_unreached', false, `The relay does not reach ${here} from its own ports.`,
      `${open}. If this browser has a private address, peers.allow must name it.`);
  }
  if (error && !out && !back) return ofBrowser(error);
  const relayed = allocations.findLast((one) => one.relayed)?.relayed ?? 'its port';
  const sent = out ? `sent ${out} packets from ${relayed} to ${here}` : `could send nothing to ${here}`;
  return own('relay_range_blocked', true, `The relay ${sent}, and ${back ? `only ${back}` : 'nothing'} came back: its relay ports are blocked.`,
    `${open} in both directions: in its own firewall, in its provider’s, and in those of containers.`);
}

/** The headline over all tests: `{state, text, detail, cure}`. */
export function headline(results) {
  const ways = results.filter(({ id }) => id !== 'peers');
  const peers = results.find(({ id }) => id === 'peers');
  const [good, bad] = ['good', 'bad'].map((wanted) => list(ways.filter(({ state }) => state === wanted).map(({ id }) => id.toUpperCase())));
  const { why } = ways.find(({ state }) => state === 'bad') ?? (/bad|warn/.test(peers?.state) ? peers : {});
  const say = (state, text) => ({ state, text, detail: why?.text, cure: why?.cure });
  if (!good) return say('bad', bad ? 'The relay does not work from here.' : 'There is no relay to test: no turn: address in the iceServers.');
  if (bad) return say('warn', `The relay works over ${good}, but not over ${bad}.`);
  if (peers?.state === 'bad') return say('warn', `The relay can be reached over ${good}, but its own ports cannot.`);
  return { state: 'good', text: `The relay works, over ${good}.` };
}
