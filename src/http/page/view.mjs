// The server's own view of our credential: asked for each second while something runs, and shown.
import { $, ask, bytes, count, el, ms, row, span, tell } from './ui.mjs';
import { isReason } from './verdict.mjs';

// Ms for which it goes on when nothing runs any more.
const AFTERWARDS = 6000;
const SAID = {
  idle: 'Begins with a test or a call.',
  missing: 'This server does not show its view: the page goes on with what the browser knows.',
  refused: 'The server does not answer at the moment.',
};

let login = null;
// The last answer; null if there is none.
let last = null;
// Or ok, or another of SAID.
let state = 'idle';
let until = 0;

export const latest = () => last;
export const availability = () => state;

/** Whose view is asked for from now on. */
export function follow(credential) {
  if (JSON.stringify(login) === JSON.stringify(credential)) return;
  [login, last, state] = [credential, null, 'idle'];
  render();
}

/** Comes each second; asks while something runs and a little longer. */
export async function tick(busy) {
  if (busy) until = performance.now() + AFTERWARDS;
  if (performance.now() < until && state !== 'missing') await look();
}

/** The newest view, or null where there is none to be had. */
export async function look() {
  if (!login) return null;
  const asked = login;
  try {
    const view = await ask('v1/view', { method: 'POST', body: JSON.stringify(asked) });
    if (asked === login) [last, state] = [view, 'ok'];
  } catch ({ status }) {
    // Such a server does not tell. Anything else may pass, and the last view stays.
    if (asked === login) [last, state] = /404|405/.test(status) ? [null, 'missing'] : [last, 'refused'];
  }
  render();
  return last;
}

const method = (name) => (name ?? '').replace(/(^|_)./g, (part) => part.at(-1).toUpperCase());

export function render() {
  const { allocations = [], refusals = [], requests = {}, verified } = last ?? {};
  const ours = verified ? 'one of this server’s.' : 'not one of this server’s: only what was refused to your own address is shown.';
  tell('view-state', SAID[state] ?? `The credential ${login.username} is ${ours}`, SAID[state] || verified ? '' : 'bad');
  const asked = Object.entries(requests).filter(([, times]) => times > 0);
  $('view-requests').textContent = asked.map(([name, times]) => `${times} × ${method(name)}`).join(' · ');
  $('view-allocations').replaceChildren(...allocations.map(allocation));
  $('view-allocations').closest('div').hidden = !allocations.length;
  // The same, whatever the transport, once; a few packets ahead of their permission are the ordinary course.
  const shown = refusals.filter((one) => isReason(one) || one.count > 20);
  const groups = Object.values(Object.groupBy(shown, (one) => `${one.method} ${one.message}`));
  $('view-refusals').replaceChildren(...groups.slice(0, 20).map(refused));
}

function allocation(one) {
  const first = (seconds) => (seconds == null ? el('td.dim', '–') : ms(seconds * 1000));
  const sum = (way) => `${bytes(way.bytes)} · ${count(way.packets, 'packet')}`;
  return row([
    one.transport.toUpperCase(), one.client, one.relayed, one.permissions?.join(', ') || '–', one.channels ?? 0,
    first(one.first_to_peer), first(one.first_to_client),
    el('td', `↑ ${sum(one.to_peers)}`, el('br'), `↓ ${sum(one.to_client)}`),
    one.ended ? `ended: ${one.ended}` : `in ${span(one.expires_in)}`,
  ], { className: one.ended ? 'dim' : '' });
}

function refused(all) {
  const [one] = all;
  const over = new Set(all.map(({ transport }) => transport.toUpperCase()));
  const times = all.reduce((sum, each) => sum + each.count, 0);
  const head = [one.code, method(one.method), ...over, one.peer, times > 1 && `${times} ×`, new Date(one.at).toLocaleTimeString()];
  return el('li', { state: isReason(one) ? 'bad' : '' },
    el('p.dim', head.filter(Boolean).join(' · ')), el('p', el('strong', one.message)), el('p', one.cure));
}
