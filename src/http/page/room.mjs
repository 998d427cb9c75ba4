// The call: a room, a call with each of its members, and what is said, sent and measured there.
import { Call } from './call.mjs';
import { draw, figures, history, pairText } from './figures.mjs';
import { startMedia } from './media.mjs';
import * as servers from './servers.mjs';
import { $, el, fill, here, ms, percent, rate, row, sleep, tell } from './ui.mjs';
import { isReason } from './verdict.mjs';
import * as view from './view.mjs';

const CONNECTION = { new: 'calling', disconnected: 'interrupted', closed: 'ended' };
const connection = (state) => CONNECTION[state] ?? state;

// Peer id -> Call.
export const calls = new Map();
// Chat, both ways.
export const messages = [];
// Likewise -> {id, name}.
const members = new Map();
// The room that we are in.
let line = null;
let local = null;
let muted = false;

const say = (text, mood) => tell('call-status', text, mood);
export const busy = () => Boolean(line) || calls.size > 0;
const chosen = (id = $('peer').value) => calls.get(id) ?? [...calls.values()][0];
export const settings = () => ({ relayOnly: $('relay-only').checked, transport: $('transport').value });
export const roomOfUrl = () => new URLSearchParams(location.href.replace(/^[^?#]*./, '').replace('#', '&')).getAll('room').at(-1) ?? '';

const report = {
  say,
  async state({ label }, state) {
    say(`${label}: ${connection(state)}`, { connected: 'good', failed: 'bad' }[state]);
    show();
    // The server may know why.
    const refusal = state === 'failed' && (await view.look())?.refusals?.find(isReason);
    if (refusal) say(`${label}: ${refusal.message} ${refusal.cure}`, 'bad');
  },
  chat(who, text) {
    messages.push({ who, text });
    $('chat').append(el('p', el('strong', `${who}: `), text));
    if ($('chat').children.length > 200) $('chat').firstChild.remove();
    $('chat').scrollTop = $('chat').scrollHeight;
  },
  progress: (part) => { $('progress').value = part; },
  result: (text, ok) => tell('transfer-result', text, ok ? 'good' : 'bad'),
};

export async function join(room, { media, name } = {}) {
  leave();
  say('Joining …');
  if (media) $('media').value = media;
  if (name) $('name').value = name;
  try {
    const wanted = room || roomOfUrl() || await servers.freshRoom(true);
    local = await startMedia($('media').value, (text) => say(text, 'warn'));
    $('local').srcObject = local;
    $('local').play().catch(() => {});
    line = await servers.enter(wanted, $('name').value);
  } catch (error) {
    leave();
    throw error;
  }
  const mine = line;
  const { room: entered, peers, iceServers } = mine.welcome;
  servers.keep(iceServers);
  view.follow(servers.login(servers.shown()));
  mine.onclose = (reason) => {
    // Calls that stand go on without the room.
    say(`Out of the room: ${reason}`, 'bad');
    if (line === mine) line = null;
    show();
  };
  // The room into the address, the link and its picture.
  window.history.replaceState(null, '', `#room=${encodeURIComponent(entered)}`);
  $('room').value = entered;
  $('link').value = location.href.replace(/\?[^#]*/, '');
  $('qr').src = `${here('qr.svg')}?text=${encodeURIComponent($('link').value)}`;
  say(peers.length ? `Calling ${peers.length} …` : 'Waiting. Open the link on another device, or in another tab.');
  // The newcomer calls; who was here waits for its offer.
  for (const peer of peers) call(mine, peer);
  mine.listen(({ 'peer-joined': joined, 'peer-left': left, from, data }) => {
    if (joined) members.set(joined.id, joined);
    if (left && members.delete(left.id) && calls.has(left.id)) {
      say(`${calls.get(left.id).label} has left.`);
      drop(left.id);
    }
    if (joined || left) show();
    if (!data || !members.has(from)) return;
    // When both switch at once, the polite one gives way, as in a negotiation.
    const { polite, pc } = calls.get(from) ?? {};
    if (data.again && (polite || pc?.remoteDescription)) drop(from);
    const known = calls.get(from) ?? (data.description && call(mine, members.get(from)));
    known?.signal(data);
  });
  show();
  return { room: entered, peers };
}

function call(through, peer) {
  members.set(peer.id, peer);
  try {
    const receive = $('media').value !== 'none';
    const made = new Call(through, peer, { servers: servers.shown(), settings: settings(), stream: local, receive, report });
    calls.set(peer.id, made);
    show();
    return made;
  } catch (error) {
    return say(`No call to ${peer.name || peer.id}: ${error.message}`, 'bad');
  }
}

function drop(id) {
  calls.get(id)?.close();
  calls.delete(id);
}

export function leave() {
  line?.close();
  [...calls.keys()].forEach(drop);
  members.clear();
  local?.getTracks().forEach((track) => track.stop());
  [line, local, muted] = [null, null, false];
  $('local').srcObject = null;
  say('Hung up.');
  show();
}

export function mute(on = !muted) {
  muted = on;
  local?.getAudioTracks().forEach((track) => { track.enabled = !on; });
  show();
}

/** The room as it is: who is in it, and what can be done. */
export function show() {
  $('hangup').disabled = !busy();
  $('in-call').hidden = !busy();
  $('share').hidden = !line;
  $('self-view').hidden = !local;
  $('mute').disabled = !local;
  $('mute').textContent = muted ? 'Unmute' : 'Mute';
  $('mute').ariaPressed = String(muted);
  $('join').textContent = line ? 'Join anew' : 'Join';
  const before = $('peer').value;
  $('peer').replaceChildren(...[...calls].map(([id, { label }]) => new Option(label, id, false, id === before)));
  $('transfer').disabled = !calls.size;
  const all = [...members.values()].map(({ id, name }) => [name || id.slice(0, 4), calls.get(id)?.pc.connectionState ?? 'new']);
  if (line) all.unshift(['You', 'in the room']);
  $('members').replaceChildren(...all.map(([name, state]) => el('li.dim', { state }, el('strong', name), ` ${connection(state)}`)));
}

export function chat(text) {
  const open = [...calls.values()].filter(({ channel }) => channel.readyState === 'open');
  open.forEach((one) => one.tell({ chat: text }));
  if (open.length) report.chat('You', text);
  return open.length;
}

export async function transfer(bytes = 10_000_000, id = undefined) {
  const one = chosen(id);
  if (!one) throw new Error('There is nobody to send to.');
  await Promise.race([one.opened, sleep(15000)]);
  return one.transfer(bytes);
}

/** The switches. Running calls are made again: after a mere ICE restart Chromium stays on the pair that it has. */
export function change() {
  for (const [id, { peer }] of line ? [...calls] : []) {
    line.send(id, { again: true });
    drop(id);
    call(line, peer);
  }
}

export const stats = async (id) => chosen(id) && figures(chosen(id).pc);

/** Comes each second. */
export async function tick() {
  const rows = [];
  for (const { label, pc } of calls.values()) {
    const { pair, state, rtt, kbitOut, kbitIn, jitter, loss, framesDecoded } = await figures(pc, true);
    rows.push(row([label, pairText(pair) || connection(state), ms(rtt), rate(kbitOut), rate(kbitIn), ms(jitter), percent(loss), framesDecoded]));
  }
  fill('stats', rows, 'No call.');
  draw(calls.size ? history(chosen().pc) : []);
}

export const describe = () => [...calls.values()].map(({ label, pc }) => ({ with: label, state: pc.connectionState, history: history(pc) }));
