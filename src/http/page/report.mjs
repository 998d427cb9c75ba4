// All that the page knows, as one JSON file for a bug report. No credential and no room is in it.
import { log } from './candidates.mjs';

/** iceServers without their secrets. */
const plain = (servers) => (servers ?? []).map(({ urls, username }) => ({ urls, ...(username ? { username, credential: '(left out)' } : {}) }));

export function report({ servers, pasted, results, view, availability, calls, settings, verdict }) {
  return {
    report: 'relais trial page', version: 1, made: new Date().toISOString(),
    page: { origin: location.origin, path: location.pathname, secureContext: isSecureContext },
    browser: { userAgent: navigator.userAgent, languages: navigator.languages, online: navigator.onLine, connection: navigator.connection?.effectiveType ?? null },
    settings, verdict, iceServers: plain(servers), pastedServers: pasted,
    tests: results, serverView: { availability, view }, calls, candidates: log,
  };
}
