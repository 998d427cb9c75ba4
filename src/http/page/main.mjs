// The page itself: what the buttons do, and how the parts hear of each other. Everything that can be clicked can be driven
// by a script through window.relais.
import { T } from './strings.mjs';
import { $, button, copy, done, el, here, row, save, sleep, tell, translate } from './ui.mjs';
import * as servers from './servers.mjs';
import * as view from './view.mjs';
import { Signaling, freshRoom } from './signaling.mjs';
import { Call } from './call.mjs';
import { connect, pings, throughput } from './loopback.mjs';
import { draw, figures, history, pairText } from './stats.mjs';
import { explain, explainPeer, headline, isReason } from './verdict.mjs';
import { forget, makeFilters, render as renderCandidates } from './candidates.mjs';
import { parseUrl } from './urls.mjs';

const settings = { relayOnly: true, transport: 'any' };
const ALL = ['udp', 'tcp', 'tls', 'peers'];
let results = [];
let verdict = null;

// ---------------------------------------------------------------- the test

function card(id, state, { big = '', text = '', cure = '', from = '', link = '' } = {}) {
  const place = $(`check-${id}`);
  place.dataset.state = state;
  place.querySelector('.state').textContent = T.state[state];
  place.querySelector('.big').textContent = big;
  place.querySelector('.why').textContent = text;
  place.querySelector('.cure').replaceChildren(cure, ...(link ? [' ', el('a', { href: link, target: '_blank', rel: 'noopener' }, link)] : []));
  place.querySelector('.from').textContent = from && T.from[from];
}

/** Looks twice: what the server has counted may take a moment to be told. */
async function explained(make, since) {
  let why = make(await view.ask(), since);
  if (view.latest() && why.from !== 'server') {
    await sleep(1200);
    why = make(await view.ask(), since);
  }
  return why;
}

/** One transport: `{id, state, why, rtt, …}`. `turn` waits until nobody else measures. */
async function testWay(id, list, since, turn) {
  const urls = servers.choose(list, id, true).flatMap((server) => server.urls);
  if (!urls.length) {
    card(id, 'off', { text: T.offered[id] });
    return { id, state: 'off' };
  }
  card(id, 'run', { text: T.connecting });
  const place = parseUrl(urls[0]);
  let pair;
  let close = () => {};
  try {
    const config = servers.configuration(list, id, true);
    pair = await connect(config, config, id.toUpperCase());
    return await turn(async () => {
      card(id, 'run', { text: T.measuring });
      const trips = await pings(pair);
      const mbit = await throughput(pair);
      const { pair: selected } = await figures(pair.a);
      card(id, 'good', { big: T.ms(trips.p50), text: T.measured(trips, mbit), cure: pairText(selected) });
      return { id, state: 'good', ...trips, mbit, pair: selected, errors: pair.errors };
    });
  } catch (error) {
    const { errors = [], gathered = pair?.gathered ?? 0 } = error;
    close = error.close ?? close;
    const said = id === 'tls' && place ? await about(place.host).catch(() => ({})) : {};
    // Of a certificate of another server it knows nothing.
    const ours = (seen) => (seen?.verified || !servers.isPasted() ? said : {});
    const why = await explained((seen, from) => explain({ transport: id, place, errors, gathered, view: seen, since: from, error: error.message, about: ours(seen) }), since);
    card(id, 'bad', { ...why, link: why.cause === 'tls_unreached' && place ? `https://${place.host}:${place.port}/` : '' });
    return { id, state: 'bad', why, errors, gathered };
  } finally {
    pair?.close();
    close();
  }
}

/** Whether the relay's ports are open for others: it sends to this browser's own address, past the browser's relay. */
async function testPeers(list, ways, since) {
  const way = ways.find(({ state }) => state === 'good');
  const udp = ways.find(({ id }) => id === 'udp');
  if (!way || udp?.state === 'bad') {
    const text = way ? T.peersNeedUdp : T.peersNeedRelay;
    card('peers', 'off', { text });
    return { id: 'peers', state: 'off', why: { cause: 'not_tested', text } };
  }
  card('peers', 'run', { text: T.connecting });
  // As the server sees us, for browsers that hide their addresses behind .local names.
  const client = view.latest()?.allocations?.[0]?.client ?? '';
  const address = client.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  let pair;
  let close = () => {};
  try {
    const more = ({ a }) => address && a.addIceCandidate({ candidate: `candidate:1 1 udp 2122252543 ${address} ${40000 + Math.floor(Math.random() * 9000)} typ host`, sdpMid: '0', sdpMLineIndex: 0 }).catch(() => {});
    pair = await connect(servers.configuration(list, way.id, true), { iceServers: servers.stunOnly(list) }, T.way.peers, more);
    const trips = await pings(pair, 20);
    const { pair: selected } = await figures(pair.a);
    card('peers', 'good', { big: T.ms(trips.p50), text: T.peersGood(address), cure: pairText(selected) });
    return { id: 'peers', state: 'good', ...trips, pair: selected };
  } catch (error) {
    close = error.close ?? close;
    const why = await explained((seen, from) => explainPeer({ view: seen, since: from, address, error: error.message }), since);
    const state = why.state ?? 'bad';
    card('peers', state, why);
    return { id: 'peers', state, why };
  } finally {
    pair?.close();
    close();
  }
}

/** All of it, or some of `udp`, `tcp`, `tls`, `peers`. */
async function checkAll(some = ALL) {
  ALL.forEach((id) => card(id, 'wait', { text: T.idle[id] }));
  if (!calls.size) forget();
  showVerdict({ state: 'run', text: T.headline.running });
  let end = () => {};
  try {
    const list = await servers.current();
    view.follow(servers.login(list));
    const first = await view.ask();
    let since = first ? Date.parse(first.now) : Date.now();
    end = view.begin();
    let queue = Promise.resolve();
    const turn = (work) => { const mine = queue.then(work); queue = mine.catch(() => {}); return mine; };
    const ways = await Promise.all(ALL.filter((id) => id !== 'peers' && some.includes(id)).map((id) => testWay(id, list, since, turn)));
    results = ways;
    const between = await view.ask();
    if (between) since = Date.parse(between.now) + 1500; // what came before is not of this test
    results = some.includes('peers') ? [...ways, await testPeers(list, ways, since)] : ways;
    showVerdict(headline(results));
  } catch (error) {
    ALL.forEach((id) => card(id, 'off'));
    showVerdict({ state: 'bad', text: T.headline.cannot, detail: error.message });
  } finally {
    end();
  }
  return results;
}

function showVerdict(shown) {
  verdict = shown;
  const place = $('verdict');
  place.dataset.state = shown.state;
  place.querySelector('h2').textContent = shown.text;
  place.querySelector('.detail').textContent = shown.detail ?? '';
  place.querySelector('.cure').textContent = shown.cure ?? '';
  $('check').textContent = shown.state === 'run' ? T.page.testing : T.page.testAgain;
}

// ---------------------------------------------------------------- the call

const calls = new Map(); // peer id -> Call
const members = new Map(); // peer id -> {id, name}
const messages = []; // chat, both ways
let line = null; // the room that we are in
let local = null;
let stopMedia = () => {};
let muted = false;
let endView = () => {};
const say = (text, mood) => tell('call-status', text, mood);

const hooks = {
  say,
  state(call, state) {
    say(`${call.label}: ${T.connection[state] ?? state}`, state === 'connected' ? 'good' : state === 'failed' ? 'bad' : '');
    if (state === 'failed') whyFailed(call);
    peers();
  },
  chat: chatLine,
  progress: (part) => { $('progress').value = part; },
  result: (text, ok) => tell('transfer-result', text, ok ? 'good' : 'bad'),
};

/** A call that fails: the server may know why. */
async function whyFailed(call) {
  const seen = await view.ask();
  const refusal = (seen?.refusals ?? []).find(isReason);
  if (refusal) say(`${call.label}: ${refusal.message} ${refusal.cure}`, 'bad');
}

const roomOfUrl = () => new URLSearchParams(location.hash.slice(1)).get('room') || new URLSearchParams(location.search).get('room');

async function join(room, options = {}) {
  leave();
  say(T.joining);
  if (options.media) $('media').value = options.media;
  if (options.name !== undefined) $('name').value = options.name;
  try {
    const name = room || roomOfUrl() || await freshRoom(true);
    const media = await import('./media.mjs');
    ({ stopMedia } = media);
    local = await media.startMedia($('media').value, (text) => say(text, 'warn'));
    $('local').srcObject = local;
    $('self-view').hidden = !local;
    $('local').play().catch(() => {});
    line = await Signaling.open(name, $('name').value);
  } catch (error) {
    leave();
    say(error.message, 'bad');
    throw error;
  }
  const mine = line;
  const { welcome } = mine;
  servers.keep(welcome.iceServers);
  view.follow(servers.login(servers.shown()));
  endView = view.begin();
  mine.onclose = (reason) => {
    // Calls that stand go on without the room.
    say(T.outOfRoom(reason), 'bad');
    if (line === mine) line = null;
    buttons();
  };
  shareRoom(welcome.room);
  say(welcome.peers.length ? T.calling(welcome.peers.length) : T.waiting);
  // The newcomer calls; who was here waits for its offer.
  for (const peer of welcome.peers) {
    members.set(peer.id, peer);
    call(mine, peer);
  }
  mine.listen((frame) => {
    const joined = frame['peer-joined'];
    const left = frame['peer-left'];
    if (joined) members.set(joined.id, joined);
    if (left) {
      members.delete(left.id);
      const gone = calls.get(left.id);
      if (gone) {
        say(T.hasLeft(gone.label));
        gone.close();
        calls.delete(left.id);
      }
    }
    if (joined || left) peers();
    if (frame.from && members.has(frame.from) && frame.data) {
      const known = calls.get(frame.from) || (frame.data.description && call(mine, members.get(frame.from)));
      if (known) known.signal(frame.data);
    }
  });
  peers();
  buttons();
  return { room: welcome.room, self: welcome.self, peers: welcome.peers };
}

/** The room into the address, the link and its picture. */
function shareRoom(room) {
  window.history.replaceState(null, '', `#room=${encodeURIComponent(room)}`);
  $('room').value = room;
  const link = location.href.replace(/\?[^#]*/, '');
  $('link').value = link;
  $('qr').alt = T.page.qr;
  $('qr').src = `${here('qr.svg')}?text=${encodeURIComponent(link)}`;
  $('share').hidden = false;
}

function call(through, peer) {
  try {
    const made = new Call(through, peer, { servers: servers.shown(), settings, stream: local, receive: $('media').value !== 'none', report: hooks });
    calls.set(peer.id, made);
    peers();
    return made;
  } catch (error) {
    say(T.noCall(peer.name || peer.id, error.message), 'bad');
    return null;
  }
}

function leave() {
  line?.close();
  line = null;
  calls.forEach((one) => one.close());
  calls.clear();
  members.clear();
  stopMedia();
  local = null;
  muted = false;
  endView();
  $('local').srcObject = null;
  $('self-view').hidden = true;
  $('share').hidden = true;
  peers();
  buttons();
}

function mute(on) {
  muted = on;
  local?.getAudioTracks().forEach((track) => { track.enabled = !on; });
  buttons();
}

function buttons() {
  $('hangup').disabled = !line && !calls.size;
  $('mute').disabled = !local;
  $('mute').textContent = muted ? T.page.unmute : T.page.mute;
  $('mute').setAttribute('aria-pressed', String(muted));
  $('join').textContent = line ? T.page.joinAnew : T.page.join;
  $('in-call').hidden = !line && !calls.size;
}

function peers() {
  const chosen = $('peer').value;
  $('peer').replaceChildren(...[...calls.values()].map((one) => new Option(one.label, one.peer.id)));
  if (calls.has(chosen)) $('peer').value = chosen;
  $('peer').disabled = !calls.size;
  $('transfer').disabled = !calls.size;
  const list = [...members.values()].map((peer) => {
    const state = calls.get(peer.id)?.pc.connectionState ?? 'new';
    return el('li', { data: { state } }, el('strong', {}, peer.name || peer.id.slice(0, 4)), ` ${T.connection[state] ?? state}`);
  });
  $('members').replaceChildren(...(line ? [el('li', { data: { state: 'self' } }, el('strong', {}, T.page.you), ` ${T.inRoom}`), ...list] : list));
}

function chatLine(who, text) {
  messages.push({ who, text });
  $('chat').append(el('p', {}, el('strong', {}, `${who}: `), text));
  while ($('chat').children.length > 200) $('chat').firstChild.remove();
  $('chat').scrollTop = $('chat').scrollHeight;
}

function chat(text) {
  const open = [...calls.values()].filter(({ channel }) => channel.readyState === 'open');
  open.forEach(({ channel }) => channel.send(JSON.stringify({ chat: text })));
  if (open.length) chatLine(T.page.you, text);
  return open.length;
}

async function transfer(bytes = 10 * 1000 * 1000, id = $('peer').value) {
  const one = calls.get(id) || calls.values().next().value;
  if (!one) throw new Error(T.nobody);
  await Promise.race([one.opened, sleep(15000)]);
  return one.transfer(bytes);
}

// ---------------------------------------------------------------- figures

async function stats(id, mark = false) {
  const one = id ? calls.get(id) : calls.values().next().value;
  return one ? { ...await figures(one.pc, mark), peer: one.peer.id } : null;
}

async function tick() {
  const rows = [];
  for (const [id, one] of calls) {
    const out = await stats(id, true);
    rows.push(row([one.label, pairText(out.pair) || T.connection[out.state] || out.state, T.ms(out.rtt), T.rate(out.kbitOut), T.rate(out.kbitIn), T.ms(out.jitter), T.percent(out.loss === null ? null : out.loss * 100), out.framesDecoded]));
  }
  $('stats').replaceChildren(...(rows.length ? rows : [row([el('td', { colSpan: 8, className: 'dim' }, T.page.noCall)])]));
  const shown = calls.get($('peer').value) ?? calls.values().next().value;
  draw(shown ? history(shown.pc) : []);
}

function set(changed) {
  Object.assign(settings, changed);
  $('relay-only').checked = settings.relayOnly;
  $('transport').value = settings.transport;
  for (const one of calls.values()) {
    try {
      one.change(settings);
    } catch (error) {
      say(`${one.label}: ${error.message}`, 'bad');
    }
  }
}

// ---------------------------------------------------------------- iceServers, in all words

async function showServers() {
  $('pasted').hidden = !servers.isPasted();
  const { snippets } = await import('./snippets.mjs');
  const list = servers.shown();
  const form = $('form').value;
  $('ice-note').textContent = T.formNote(form);
  $('ice').textContent = list ? snippets(list, here('v1/ice-servers'))[form] : T.page.notAsked;
}

async function check() {
  const [{ lint }, { F }] = await Promise.all([import('./linter.mjs'), import('./faults.mjs')]);
  const { faults, config, changed } = lint($('lint-input').value);
  const bad = faults.filter(({ level }) => level === 'error').length;
  $('faults').replaceChildren(...faults.map(({ level, where, text }) => el('li', { data: { level } }, el('strong', {}, F.level[level]), where && ' ', where && el('code', {}, where), ` ${text}`)));
  tell('lint-result', config ? F.result(bad, changed) : F.nothing, config && !bad ? 'good' : 'bad');
  $('corrected').textContent = config ? JSON.stringify(config, null, 2) : '';
  $('lint-output').hidden = !config;
  return config;
}

async function usePasted() {
  const config = await check();
  if (!config) return;
  servers.usePasted(config.iceServers);
  $('check').focus();
  $('verdict').scrollIntoView({ block: 'center' });
}

function useLogin() {
  const list = servers.shown() ?? [];
  const url = $('try-url').value.trim();
  const urls = url ? [url] : [...new Set(list.flatMap((server) => server.urls))];
  $('lint-input').value = JSON.stringify({ iceServers: [{ urls, username: $('try-user').value.trim(), credential: $('try-credential').value.trim() }] }, null, 2);
  return usePasted();
}

/** What the server tells of itself, and of its certificate for a name. */
async function about(name = '') {
  const answer = await fetch(`${here('v1/about')}${name && `?name=${encodeURIComponent(name)}`}`, { cache: 'no-store' });
  return answer.ok ? answer.json() : {};
}

/** Where the same page is a secure context, if the server says so. */
async function showHttps() {
  const { https, trusted } = await about();
  if (!https?.startsWith('https://')) return;
  $('secure').href = https + location.hash;
  $('secure').textContent = T.https(https, trusted);
  $('secure').hidden = false;
}

// ---------------------------------------------------------------- start

translate();
makeFilters();
document.title = T.page.title;
for (const id of ALL) {
  const part = (name) => el('p', { className: name });
  $('checks').append(el('li', { id: `check-${id}`, data: { state: 'wait' } },
    el('h3', {}, el('span', { className: 'name' }, T.way[id]), ' ', el('span', { className: 'state' })), part('big'), part('why'), part('cure'), part('from')));
}
ALL.forEach((id) => card(id, 'wait', { text: T.idle[id] }));
for (const name of Object.keys(T.forms)) $('form').append(new Option(T.forms[name], name));
showVerdict({ state: 'wait', text: T.headline.wait, detail: T.headline.how });
$('check').textContent = T.page.test;
if (!window.RTCPeerConnection) {
  showVerdict({ state: 'bad', text: T.headline.noWebrtc });
  for (const id of ['check', 'join']) $(id).disabled = true;
}
if (!navigator.mediaDevices) {
  $('media').value = 'synthetic';
  $('media').querySelector('[value=camera]').disabled = true;
  $('insecure').hidden = false;
  showHttps().catch(() => {});
}

button('check', () => checkAll(), (text) => showVerdict({ state: 'bad', text }));
button('join', () => join($('room').value.trim()), (text) => say(text, 'bad'));
button('hangup', () => { leave(); say(T.hungUp); });
button('mute', () => mute(!muted));
for (const id of ['link', 'ice', 'corrected']) {
  button(`copy-${id}`, async () => {
    await copy($(id).value ?? $(id).textContent);
    done($(`copy-${id}`));
  });
}
button('get-ice', servers.fresh, (text) => { $('ice').textContent = text; });
button('lint', check);
button('use-pasted', usePasted);
button('own-servers', () => servers.usePasted(null));
button('try', useLogin);
button('transfer', async () => {
  const got = await transfer();
  hooks.result(T.sent(got), got.ok);
}, (text) => hooks.result(text, false));
button('save', async () => save(`relais-report-${new Date().toISOString().slice(0, 19).replace(/:/g, '')}.json`, JSON.stringify(await makeReport(), null, 2)));
$('chat-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('chat-input').value;
  if (text && chat(text)) $('chat-input').value = '';
});
$('relay-only').addEventListener('change', (event) => set({ relayOnly: event.target.checked }));
$('transport').addEventListener('change', (event) => set({ transport: event.target.value }));
$('filters').addEventListener('change', renderCandidates);
$('form').addEventListener('change', async () => {
  await showServers();
  if (!servers.shown()) servers.current().catch((error) => { $('ice').textContent = error.message; });
});
servers.onServers(showServers);

const makeReport = async () => (await import('./report.mjs')).report({
  servers: servers.shown(), pasted: servers.isPasted(), results, view: view.latest(), availability: view.availability(), settings,
  calls: [...calls.values()].map((one) => ({ with: one.label, state: one.pc.connectionState, history: history(one.pc) })), verdict,
});

settings.relayOnly = $('relay-only').checked;
settings.transport = $('transport').value;
$('room').value = roomOfUrl() || '';
if (roomOfUrl()) {
  say(T.invited);
  $('call-part').scrollIntoView();
}
renderCandidates();
view.render();
showServers();
peers();
buttons();
draw([]);
setInterval(() => tick().catch(() => {}), 1000);
addEventListener('pagehide', leave);

window.relais = {
  join, leave, checkAll, stats, transfer, chat, mute, set, settings, messages, report: makeReport,
  call: (id) => calls.get(id), iceServers: servers.current, usePasted: servers.usePasted, peers: () => [...calls.keys()],
};
