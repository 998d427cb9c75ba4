// The server's own view of our credential: asked for each second while something runs, and shown.
import { T } from './strings.mjs';
import { isReason } from './verdict.mjs';
import { $, el, here, row, tell } from './ui.mjs';

const EVERY = 1000;
const AFTERWARDS = 6000; // ms for which it goes on when nothing runs any more

let login = null;
let last = null; // the last answer; null if there is none
let state = 'idle'; // idle, ok, missing, refused
let users = 0;
let until = 0;
let timer = 0;

export const latest = () => last;
export const availability = () => state;

/** Whose view is asked for from now on. */
export function follow(credential) {
  if (login?.username === credential?.username && login?.credential === credential?.credential) return;
  login = credential;
  last = null;
  state = 'idle';
  render();
}

/** Polls until the function that it returns is called. */
export function begin() {
  users += 1;
  schedule(0);
  let ended = false;
  return () => {
    if (ended) return;
    ended = true;
    users -= 1;
    until = performance.now() + AFTERWARDS;
  };
}

function schedule(ms) {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    await ask();
    if (state !== 'missing' && (users > 0 || performance.now() < until)) schedule(EVERY);
  }, ms);
}

/** The newest view, or null where there is none to be had. */
export async function ask() {
  if (!login) return null;
  const asked = login;
  try {
    const answer = await fetch(here('v1/view'), { method: 'POST', cache: 'no-store', headers: { 'content-type': 'application/json' }, body: JSON.stringify(asked) });
    if (asked !== login) return last;
    if (answer.ok) {
      last = await answer.json();
      state = 'ok';
    } else {
      // 404 and 405: this server does not tell. Anything else may pass, and the last view stays.
      state = answer.status === 404 || answer.status === 405 ? 'missing' : 'refused';
      if (state === 'missing') last = null;
    }
  } catch {
    state = 'refused';
  }
  render();
  return last;
}

const seconds = (value) => (value === null || value === undefined ? '–' : T.ms(value * 1000));

export function render() {
  tell('view-state', state === 'ok' ? T.viewOf(login.username, last.verified) : T.viewState[state], state === 'ok' && !last.verified ? 'bad' : '');
  const allocations = last?.allocations ?? [];
  const refusals = last?.refusals ?? [];
  const requests = Object.entries(last?.requests ?? {}).filter(([, count]) => count > 0);
  $('view-requests').textContent = requests.length ? requests.map(([name, count]) => `${count} × ${T.method(name)}`).join(' · ') : '';
  $('view-allocations').replaceChildren(...allocations.map(allocation));
  $('view-allocations').closest('.scroll').hidden = !allocations.length;
  // The same, whatever the transport, once; a few packets ahead of their permission are the ordinary course.
  const groups = new Map();
  for (const one of refusals.filter((each) => isReason(each) || each.count > 20)) {
    const key = `${one.method} ${one.message}`;
    const kept = groups.get(key) ?? { ...one, count: 0, over: new Set() };
    kept.count += one.count;
    kept.over.add(one.transport.toUpperCase());
    groups.set(key, kept);
  }
  $('view-refusals').replaceChildren(...[...groups.values()].slice(0, 20).map(refused));
}

function allocation(one) {
  const bytes = ({ packets, bytes: size }) => `${T.bytes(size)} · ${T.packets(packets)}`;
  const ends = one.ended ? T.ended(one.ended) : T.expiresIn(one.expires_in);
  return row([
    one.transport.toUpperCase(), one.client, one.relayed, (one.permissions ?? []).join(', ') || '–', one.channels ?? 0,
    el('td', { className: one.first_to_peer == null ? 'dim' : '' }, seconds(one.first_to_peer)),
    el('td', { className: one.first_to_client == null ? 'dim' : '' }, seconds(one.first_to_client)),
    el('td', {}, `↑ ${bytes(one.to_peers)}`, el('br'), `↓ ${bytes(one.to_client)}`), ends,
  ], one.ended ? 'dim' : '');
}

function refused(one) {
  const head = [one.code, T.method(one.method), [...one.over].join(', '), one.peer, one.count > 1 ? `${one.count} ×` : '', new Date(one.at).toLocaleTimeString()];
  return el('li', { data: { cause: one.cause, level: isReason(one) ? 'error' : 'hint' } }, el('p', { className: 'dim' }, head.filter(Boolean).join(' · ')), el('p', {}, el('strong', {}, one.message)), el('p', {}, one.cure));
}
