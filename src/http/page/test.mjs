// The test: each way to the relay, and from there to others; what comes of it, and why not.
import { figures, forget, pairText } from './figures.mjs';
import { connect, open, pings, throughput } from './loopback.mjs';
import { busy } from './room.mjs';
import * as servers from './servers.mjs';
import { $, ask, el, ms, percent, sleep } from './ui.mjs';
import { explain, explainPeer, headline } from './verdict.mjs';
import * as view from './view.mjs';

const WAYS = {
  udp: ['UDP', 'The direct way, and the fastest.'],
  tcp: ['TCP', 'Where UDP is forbidden.'],
  tls: ['TLS', 'Where only what looks like HTTPS gets out.',
    'No turns: address is offered: it takes listen.tls, a certificate and a host name (http.host).'],
  peers: ['Relay ports', 'From the relay to the other side.'],
};
const ALL = Object.keys(WAYS);
const STATES = { run: 'testing', good: 'works', warn: 'restricted', bad: 'fails' };
const SOURCES = { server: 'The server says so.', browser: 'As far as the browser can tell.' };

/** The last results, what they mean, and whether a test runs. */
export const test = { tests: [], verdict: null, running: false };

function card(id, state, { big, text, cure, from, link } = {}) {
  const place = $(`check-${id}`);
  place.dataset.state = state;
  place.replaceChildren(
    el('h3', WAYS[id][0], ' ', el('span', STATES[state] ?? 'not tested')),
    el('p.big', big), el('p', text),
    el('p.dim', cure, link && ' ', link && el('a', { href: link, target: '_blank', rel: 'noopener' }, link)),
    el('p.dim', SOURCES[from]),
  );
  return { id, state };
}

const reset = () => ALL.forEach((id) => card(id, 'wait', { text: WAYS[id][1] }));

function show(verdict) {
  test.verdict = verdict;
  $('verdict').dataset.state = verdict.state;
  $('verdict').replaceChildren(el('h2', verdict.text), el('p', verdict.detail), el('p.dim', verdict.cure));
}

export function idle() {
  reset();
  show({
    state: 'wait', text: 'Does the relay work from here?',
    detail: 'This page talks to itself through the relay for some seconds, with at most 50 MB.',
  });
  if (window.RTCPeerConnection) return;
  show({ state: 'bad', text: 'This browser has no WebRTC.' });
  for (const id of ['check', 'join']) $(id).disabled = true;
}

/** What the server tells of itself, and of its certificate for a name. */
export const about = (name = '') => ask(`v1/about?name=${encodeURIComponent(name)}`);

/**
 * Two connections, of these configurations; `measure` says what they can do, `judge` why they are not. A failure is looked
 * at twice: what the server has counted may take a moment to be told.
 */
async function trial(id, configurations, address, measure, judge) {
  card(id, 'run', { text: 'Connecting …' });
  let pair;
  try {
    pair = connect(...configurations, WAYS[id][0]);
    await open(pair, address);
    const { text, ...measured } = await measure(pair);
    const { pair: path } = await figures(pair.a.pc);
    return { ...card(id, 'good', { big: ms(measured.p50), text, cure: pairText(path) }), ...measured, pair: path, errors: pair.errors };
  } catch ({ message }) {
    const known = { errors: pair?.errors, gathered: pair?.gathered(), error: message };
    const look = async () => judge(await view.look(), known);
    let why = await look();
    if (view.latest() && why.from !== 'server') {
      await sleep(1200);
      why = await look();
    }
    return { ...card(id, why.state ?? 'bad', why), why, ...known };
  } finally {
    pair?.close();
  }
}

let queue = Promise.resolve();
/** Waits until nobody else measures. */
function turn(work) {
  const mine = queue.then(work);
  queue = mine.catch(() => {});
  return mine;
}

async function testWay(id, list, since) {
  let config;
  try {
    config = servers.configuration(list, id, true);
  } catch ({ message }) {
    return card(id, 'off', { text: WAYS[id][2] ?? message });
  }
  const place = servers.parseUrl(config.iceServers[0].urls[0]);
  const measure = (pair) => turn(async () => {
    card(id, 'run', { text: 'Connected. Measuring …' });
    const trips = await pings(pair);
    const mbit = await throughput(pair);
    return { ...trips, mbit, text: `99 % within ${ms(trips.p99)} · ${percent(trips.loss * 100)} lost · ${mbit.toFixed(mbit < 10 ? 1 : 0)} Mbit/s` };
  });
  return trial(id, [config, config], null, measure, async (seen, known) => {
    // Of a certificate of another server it knows nothing.
    const ours = id === 'tls' && (seen?.verified || !servers.isPasted());
    const said = ours ? await about(place.host).catch(() => {}) : {};
    const why = explain({ transport: id, place, view: seen, since, about: said, ...known });
    return { ...why, link: why.cause === 'tls_unreached' && `https://${place.host}:${place.port}/` };
  });
}

/** Whether the relay's ports are open for others: it sends to this browser's own address, past the browser's relay. */
async function testPeers(list, ways, since) {
  const way = ways.find(({ state }) => state === 'good');
  if (!way || ways.some(({ id, state }) => id === 'udp' && state === 'bad')) {
    const text = way ? 'Needs UDP between this browser and the server.' : 'Needs a relay that works.';
    return { ...card('peers', 'off', { text }), why: { cause: 'not_tested', text } };
  }
  // As the server sees us, for browsers that hide their addresses behind .local names.
  const address = (view.latest()?.allocations?.[0]?.client ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  const text = `The relay reaches ${address || 'this browser'} from its own ports, and is reached there.`;
  const configurations = [servers.configuration(list, way.id, true), { iceServers: servers.stunOnly(list) }];
  const measure = async (pair) => ({ ...await pings(pair, 20), text });
  return trial('peers', configurations, address, measure, (seen, { error }) => explainPeer({ view: seen, since, address, error }));
}

/** All of it, or some of `udp`, `tcp`, `tls`, `peers`. */
export async function checkAll(some = ALL) {
  reset();
  if (!busy()) forget();
  show({ state: 'run', text: 'Testing …' });
  test.running = true;
  try {
    const list = await servers.current();
    view.follow(servers.login(list));
    const clock = async (ahead) => Date.parse((await view.look())?.now ?? new Date().toISOString()) + ahead;
    const since = await clock(0);
    const wanted = ['udp', 'tcp', 'tls'].filter((id) => some.includes(id));
    test.tests = await Promise.all(wanted.map((id) => testWay(id, list, since)));
    // What came before is not of the last one.
    if (some.includes('peers')) test.tests.push(await testPeers(list, test.tests, await clock(1500)));
    show(headline(test.tests));
  } catch (error) {
    ALL.forEach((id) => card(id, 'off'));
    show({ state: 'bad', text: 'The test could not begin.', detail: error.message });
  } finally {
    test.running = false;
  }
  return test.tests;
}
