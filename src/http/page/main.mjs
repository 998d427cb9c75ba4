// The page itself: what its buttons do. Everything that can be clicked can be driven by a script through window.relais.
import { candidates, draw, showCandidates } from './figures.mjs';
import { lint } from './linter.mjs';
import * as room from './room.mjs';
import * as servers from './servers.mjs';
import { FORMS, snippet } from './snippets.mjs';
import { about, checkAll, idle, test } from './test.mjs';
import { $, buttons, copy, el, here, save, tell } from './ui.mjs';
import * as view from './view.mjs';

const LEVELS = { bad: 'Fault', warn: 'Warning', hint: 'Hint' };
const pretty = (value) => JSON.stringify(value, null, 2);

function showServers() {
  const form = $('form').value;
  const [title, , note = `${title} makes credentials itself, with the secret that only the operator of the server has.`] = FORMS[form];
  $('pasted').hidden = !servers.isPasted();
  $('ice').textContent = servers.shown() ? snippet(form, servers.shown(), here('v1/ice-servers')) : 'Not asked for yet.';
  tell('ice-note', note);
}

function check() {
  const { faults, config, summary } = lint($('lint-input').value);
  $('faults').replaceChildren(...faults.map(({ level, where, text }) => el('li', { state: level },
    el('strong', LEVELS[level]), ' ', where && el('code', where), ` ${text}`)));
  tell('lint-result', summary, config && faults[0]?.level !== 'bad' ? 'good' : 'bad');
  $('corrected').textContent = pretty(config);
  $('lint-output').hidden = !config;
  return config;
}

function usePasted() {
  const config = check();
  if (!config) return;
  servers.usePasted(config.iceServers);
  $('check').focus();
}

function useLogin() {
  const [url, username, credential] = ['url', 'user', 'credential'].map((name) => $(`try-${name}`).value.trim());
  const urls = url ? [url] : servers.shown()?.flatMap((server) => server.urls);
  $('lint-input').value = pretty({ iceServers: [{ urls, username, credential }] });
  usePasted();
}

/** Where the same page is a secure context, if the server says so. */
async function showHttps() {
  const { https, trusted } = await about();
  if (!https?.startsWith('https://')) return;
  $('secure').href = https + location.hash;
  $('secure').textContent = `Go on at ${https}${trusted ? '' : ' (the browser will ask about its certificate)'}`;
}

/** All that the page knows, for a bug report. No credential and no room is in it. */
function report() {
  const { userAgent, languages, onLine } = navigator;
  const plain = servers.shown()?.map(({ urls, username }) => ({ urls, username, credential: username && '(left out)' }));
  return {
    report: 'relais trial page', version: 1, made: new Date(), userAgent, languages, onLine,
    page: here(''), secureContext: isSecureContext, pastedServers: servers.isPasted(), iceServers: plain,
    ...test, settings: room.settings(), calls: room.describe(), serverView: { availability: view.availability(), view: view.latest() }, candidates,
  };
}

buttons({
  async check() {
    $('check').textContent = 'Testing …';
    await checkAll();
    $('check').textContent = 'Test again';
  },
  save: () => save(`relais-report-${new Date().toISOString().slice(0, 19).replace(/:/g, '')}.json`, pretty(report())),
  'own-servers': () => servers.usePasted(null),
  join: () => room.join($('room').value.trim()),
  hangup: room.leave,
  mute: () => room.mute(),
  transfer: () => room.transfer(),
  'get-ice': servers.fresh,
  lint: check,
  'use-pasted': usePasted,
  try: useLogin,
  ...Object.fromEntries(['link', 'ice', 'corrected'].map((id) => [`copy-${id}`, () => copy(id)])),
});
$('chat-form').onsubmit = (event) => {
  event.preventDefault();
  const text = $('chat-input').value;
  if (text && room.chat(text)) $('chat-input').value = '';
};
for (const id of ['relay-only', 'transport']) $(id).onchange = room.change;
$('filters').onchange = showCandidates;
$('form').append(...Object.entries(FORMS).map(([form, [title]]) => new Option(title, form)));
$('form').onchange = () => {
  showServers();
  if (!servers.shown()) servers.current().catch((error) => tell('ice-note', error.message, 'bad'));
};
addEventListener('servers', showServers);
addEventListener('pagehide', room.leave);

idle();
showCandidates();
view.render();
showServers();
room.show();
draw([]);
if (!navigator.mediaDevices) {
  $('media').value = 'synthetic';
  $('media').options[0].disabled = true;
  $('insecure').hidden = false;
  showHttps().catch(() => {});
}
$('room').value = room.roomOfUrl();
if ($('room').value) {
  tell('call-status', 'You are invited to a room. Press Join.');
  $('call-part').scrollIntoView();
}
setInterval(() => {
  room.tick().catch(() => {});
  view.tick(test.running || room.busy());
}, 1000);

window.relais = { ...servers, ...room, checkAll, report, peers: () => [...room.calls.keys()] };
