// The parts of the trial page that need no browser: the linter, the other programs' words, the verdict.
//   node --test page_unit.test.mjs
import assert from "node:assert/strict";
import { test } from "node:test";
import { lint } from "../../src/http/page/linter.mjs";
import { parseLiteral, Unknown } from "../../src/http/page/literal.mjs";
import { parseUrl } from "../../src/http/page/servers.mjs";
import { FORMS, snippet } from "../../src/http/page/snippets.mjs";
import { explain, explainPeer, headline } from "../../src/http/page/verdict.mjs";

const NOW = Date.UTC(2026, 10, 21);
const NAME = `${NOW / 1000 + 3600}:me`;
const keys = (text) => lint(text, NOW).faults.map((fault) => fault.key);
const server = (urls, more = {}) => JSON.stringify({ iceServers: [{ urls, username: NAME, credential: "c", ...more }] });
/** What an address becomes, and the keys of its faults, without the hint about transports. */
const address = (url) => {
  const { config, faults } = lint(server(url), NOW);
  return [config?.iceServers[0]?.urls ?? null, ...faults.map((fault) => fault.key).filter((key) => key !== "onlyUdp")];
};

test("what browsers take has no fault, and stays as it is", () => {
  const good = { iceServers: [{ urls: ["stun:turn.relais.test:3478"] }, { urls: ["turn:turn.relais.test:3478?transport=udp", "turn:turn.relais.test:3478?transport=tcp", "turns:turn.relais.test:5349?transport=tcp"], username: NAME, credential: "c=" }] };
  const { faults, config } = lint(JSON.stringify(good), NOW);
  assert.deepEqual([faults, JSON.stringify(config)], [[], JSON.stringify(good)]);
});

test("a literal is read without running it", () => {
  const read = parseLiteral(`
    // as people write it
    const pc = new RTCPeerConnection({ iceServers: [ { urls: 'turn:a.test', /* here */ username: "it's", credential: \`x\`, }, ], n: -1.5e3, t: true, u: undefined });`);
  assert.deepEqual(read, { iceServers: [{ urls: "turn:a.test", username: "it's", credential: "x" }], n: -1500, t: true, u: undefined });
  assert.deepEqual(parseLiteral(`{'a': None, 'b': True, "c": "\\u00e9\\n\\x41\\u{1F600}"}`), { a: null, b: true, c: "é\nA😀" });
  assert.deepEqual(parseLiteral(`iceServers = [{ urls: "stun:a" }]`), { iceServers: [{ urls: "stun:a" }] });
  assert.deepEqual(parseLiteral("turn:[2001:db8::1]:3478"), { urls: "turn:[2001:db8::1]:3478" });
  const { credential, key, call } = parseLiteral("{ credential: process.env.SECRET, key, call: secret('a', [1]) }");
  assert.ok([credential, key, call].every((value) => value instanceof Unknown));
  globalThis.touched = false;
  for (const hostile of ["{ a: (globalThis.touched = true) }", "{ get a() { globalThis.touched = true } }", "{ [globalThis.touched = true]: 1 }", "{ a: `${globalThis.touched = true}` }"]) {
    try { parseLiteral(hostile); } catch { /* no literal */ }
  }
  assert.equal(globalThis.touched, false);
  assert.equal(Object.getPrototypeOf(parseLiteral(`{"__proto__": {"x": 1}}`)).x, undefined);
});

test("what is no literal is said with its line", () => {
  for (const [text, key, where] of [
    ["", "nothing", "line 1"], ["hello", "nothing", "line 1"], ["{\n iceServers: [\n", "unfinished", "line 3"], ['{ a: "b }', "unclosedString", "line 1"],
    ["{ a: 1 b: 2 }", "missingComma", "line 1"], ["{ a: ) }", "unexpected", "line 1"], [`{a:${"[".repeat(99)}`, "tooDeep", "line 1"], ["{}", "noServers", ""], ["[1]", "unknown", "iceServers[0]"],
  ]) {
    const { faults, config } = lint(text, NOW);
    assert.deepEqual([faults[0]?.key, faults[0]?.where, config], [key, where, null], text);
  }
});

test("each fault of an address is named and mended", () => {
  for (const [given, mended, ...faults] of [
    ["turn://a.test:3478", "turn:a.test:3478", "slashes"], ["stun://a.test", "stun:a.test", "slashes"], ["TURN:a.test", "turn:a.test", "upperCase"],
    ["a.test:3478", "turn:a.test:3478", "noScheme"], ["https://a.test", "turns:a.test", "badScheme", "slashes"], ["turn:a.test/path", "turn:a.test", "path"],
    ["turn: a.test ", "turn:a.test", "urlSpaces"], ["turn:2001:db8::1", "turn:[2001:db8::1]", "brackets"], ["turn:[2001:db8::1]:80", "turn:[2001:db8::1]:80"],
    ["turn:a.test?transport=tls", "turns:a.test?transport=tcp", "transportTls"], ["turn:a.test?transport=TCP", "turn:a.test?transport=tcp", "badQuery"],
    ["turn:a.test?transport=tpc", "turn:a.test?transport=tcp", "badQuery"], ["turn:a.test?tcp", "turn:a.test?transport=tcp", "badQuery"],
    ["turn:a.test?proto=udp", "turn:a.test?transport=udp", "badQuery"], ["turn:a.test?transport=sctp", "turn:a.test", "badQuery"], ["turn:a.test?", "turn:a.test", "badQuery"],
    ["stun:a.test?transport=udp", "stun:a.test", "stunQuery"], ["turns:a.test?transport=udp", "turns:a.test?transport=tcp", "turnsUdp"],
    ["turns:203.0.113.5:5349?transport=tcp", "turns:203.0.113.5:5349?transport=tcp", "turnsAddress"],
    ["turn:a.test:53", "turn:a.test:53", "portForbidden"], ["turn:a.test:5060", "turn:a.test:5060", "portForbidden"], ["turn:a.test:443", "turn:a.test:443"],
    ["turn:a.test:99999", "turn:a.test", "badPort"], ["turn:a.test:port", "turn:a.test", "badPort"], ["turn:a.test:5349", "turn:a.test:5349", "tlsPort"],
    ["turn:localhost", "turn:localhost", "loopback"], ["turn:192.168.1.5", "turn:192.168.1.5", "private"], ["turn:turn.example.com", "turn:turn.example.com", "placeholder"],
    ["turn:a_b!.test", "turn:a_b!.test", "badHost"],
  ]) {
    const [url, ...found] = address(given);
    const stunToo = ["noRelay"];
    assert.deepEqual([url, ...found.filter((key) => !stunToo.includes(key))], [mended, ...faults], given);
  }
  assert.deepEqual(lint(server("turn:"), NOW).config, null);
});

test("user and password in the address become a login", () => {
  const { config } = lint('{ urls: "turn:joe:p%40ss@a.test:3478" }', NOW);
  assert.deepEqual(config.iceServers, [{ urls: "turn:a.test:3478", username: "joe", credential: "p@ss" }]);
});

test("names of members", () => {
  for (const [text, ...faults] of [
    ['[{ url: "turn:a.test", username: "u", credential: "c" }]', "rename"], ['[{ urls: "turn:a.test", username: "u", password: "c" }]', "rename"],
    ['[{ urls: "turn:a.test", user: "u", credentials: "c" }]', "rename", "rename"], ['{ iceServers: { urls: "turn:a.test", username: "u", credential: "c" } }', "notArray"],
    ['{ ice_servers: [{ url: "turn:a.test", urls: "turn:a.test", username: "u", credential: "c" }] }', "rename"], ['{ username: "u", password: "c", ttl: 1, uris: ["turn:a.test"] }', "rename", "rename"],
    ['{ iceServers: ["stun:a.test"] }', "stringServer"], ['[{ urls: "turn:a.test", username: 7, credential: "c" }]', "notString"], ['[{ urls: "turn:a.test", username: "u ", credential: "c" }]', "spaces"],
    ['[{ urls: "turn:a.test" }]', "missing", "missing"], ['[{ urls: "turn:a.test", username: "u", credential: secret }]', "unknown", "missing"],
    ['[{ urls: "turn:a.test, turn:b.test", username: "u", credential: "c" }]', "joined"], ['[{ urls: ["turn:a.test", "turn:a.test"], username: "u", credential: "c" }]', "double"],
    ['[{ username: "u" }]', "noUrls"], ['[{ urls: "turn:a.test", username: "u", credential: "c", credentialType: "oauth" }]', "credentialType"],
    ['{ iceServers: [{ urls: "stun:a.test" }], iceTransports: "relay" }', "rename", "relayWithout"], ['{ iceServers: [{ urls: "stun:a.test" }], iceTransportPolicy: "public" }', "badPolicy", "noRelay"],
    ['{ "v": { "iceServers": { "username": "u", "urls": ["turn:a.test"], "credential": "c" } }, "s": "ok" }', "notArray"],
  ]) {
    const found = keys(text).filter((key) => !["onlyUdp", "bareServer"].includes(key) && (key !== "noRelay" || faults.includes(key)));
    assert.deepEqual(found, faults, text);
  }
});

test("time stamps, lengths, swapped and many", () => {
  const login = (username, credential = "c") => keys(JSON.stringify([{ urls: "turn:a.test?transport=tcp", username, credential }]));
  const s = NOW / 1000;
  assert.deepEqual(login(`${s - 720}:me`), ["expired"]);
  assert.match(lint(server("turn:a.test", { username: `${s - 720}:me` }), NOW).faults[0].text, /expired 12 minutes ago/);
  assert.deepEqual(login(`me:${s - 1}`), ["expired"]);
  assert.deepEqual(login(`${s + 60}:me`), ["expiresSoon"]);
  assert.deepEqual(login(`${s + 3600}:me?policy&tag=x`), []);
  assert.deepEqual(login(`${(s + 3600) * 1000}:me`), ["milliseconds"]);
  assert.deepEqual(login("plain"), []);
  assert.deepEqual(login("cGFzcw", `${s + 3600}:me`), ["swapped"]);
  assert.deepEqual(login("ü".repeat(254)), []);
  assert.deepEqual(login(`${"ü".repeat(254)}x`), ["longName"]);
  assert.deepEqual(login("<username>", "..."), ["placeholder", "placeholder"]);
  assert.deepEqual(keys(JSON.stringify([1, 2, 3, 4, 5, 6].map((n) => ({ urls: `stun:s${n}.test` })))), ["noRelay", "many"]);
});

test("other programs get places, and never a secret", () => {
  const servers = [{ urls: ["stun:t.test:3478"] }, { urls: ["turn:t.test:3478?transport=udp", "turn:t.test:3478?transport=tcp", "turns:t.test:5349?transport=tcp"], username: "1:u", credential: "hidden=" }];
  const all = Object.fromEntries(Object.keys(FORMS).map((name) => [name, snippet(name, servers, "https://t.test/v1/ice-servers")]));
  for (const name of ["nextcloud", "synapse", "jitsi", "livekit", "mediamtx"]) {
    assert.ok(!all[name].includes("hidden=") && all[name].includes("secret of [auth]"), name);
  }
  assert.match(all.nextcloud, /^occ talk:turn:add turn t.test:3478 udp,tcp --secret='.*'\nocc talk:turn:add turns t.test:5349 tcp /);
  assert.match(all.jitsi, /type = "turns", host = "t.test", port = 5349, transport = "tcp", secret = true/);
  assert.match(all.livekit, /port: 5349\n {6}protocol: tls/);
  assert.deepEqual(JSON.parse(all.json).iceServers, servers);
  assert.deepEqual(lint(all.js, NOW).config.iceServers.map(({ urls }) => urls), servers.map(({ urls }) => urls));
  assert.deepEqual(parseUrl("turns:[2001:db8::1]"), { scheme: "turns", host: "[2001:db8::1]", port: 5349, transport: "tls" });
  assert.equal(parseUrl("http://x"), null);
});

test("the server's word comes before the browser's, and that before a guess", () => {
  const at = new Date(NOW).toISOString();
  const old = new Date(NOW - 60000).toISOString();
  const refusal = (more) => ({ at, transport: "udp", method: "allocate", code: 401, cause: "expired", message: "It expired.", cure: "Get another.", peer: null, count: 1, ...more });
  const view = (refusals, allocations = []) => ({ verified: true, now: at, refusals, allocations });
  const why = (more) => explain({ transport: "udp", place: { host: "t", port: 3478 }, since: NOW, ...more }).cause;
  assert.equal(why({ view: view([refusal()]), errors: [{ code: 701 }] }), "expired");
  assert.equal(why({ view: view([refusal({ at: old })]), errors: [{ code: 701 }] }), "unreached", "what is old says nothing of this test");
  assert.equal(why({ view: view([refusal({ transport: "tcp" })]), errors: [{ code: 701 }] }), "unreached", "nor does another transport");
  assert.equal(why({ view: view([refusal({ cause: "stale_nonce" })]), errors: [] }), "unreached");
  assert.equal(why({ view: null, errors: [{ code: 401, text: "Unauthorized" }] }), "code_401");
  assert.equal(why({ view: null, errors: [{ code: 701 }] }), "unreached");
  const allocation = { transport: "udp", created: at, relayed: "1.2.3.4:50000", client: "5.6.7.8:9", to_peers: { packets: 4, bytes: 400 }, to_client: { packets: 0, bytes: 0 } };
  assert.equal(why({ view: view([], [allocation]), gathered: 0 }), "answers_lost");
  assert.equal(why({ view: view([], [allocation]), gathered: 2 }), "no_data");
  assert.equal(why({ view: view([refusal({ cause: "peer_denied", peer: "10.0.0.1:1" })], [allocation]), gathered: 2 }), "peer_denied");
  assert.equal(why({ view: view([refusal({ cause: "quota" })], [allocation]), gathered: 0 }), "quota");
  for (const [about, cause] of [[{ certificate: false }, "tls_name"], [{ certificate: true, trusted: false }, "tls_self_signed"], [{ certificate: true, trusted: true }, "tls_unreached"], [{}, "tls_unreached"]]) {
    assert.equal(why({ view: view([]), transport: "tls", about }), cause);
  }
  assert.equal(why({ view: view([]), errors: [{ code: 701, text: "TURN host lookup received error." }] }), "dns");
  assert.equal(why({ view: view([refusal({ cause: "no_permission", method: "data", code: 0 })], []), gathered: 2 }), "no_data", "packets before a permission are no reason");
  const peer = (seen) => explainPeer({ view: seen, since: NOW, address: "5.6.7.8" }).cause;
  assert.equal(peer(view([], [allocation])), "relay_range_blocked");
  assert.equal(peer(view([refusal({ cause: "peer_denied", peer: "192.168.7.20:1" })], [allocation])), "peer_denied");
  const data = refusal({ method: "data", cause: "peer_denied", peer: "5.6.7.8:1" });
  assert.equal(peer(view([data], [allocation])), "relay_range_blocked", "what was sent got as far as that");
  assert.equal(peer(view([data], [{ ...allocation, to_peers: { packets: 0 } }])), "peer_denied");
  assert.equal(peer(null), "peer_unreached");
});

test("the headline", () => {
  const of = (udp, tcp, tls, peers) => headline(Object.entries({ udp, tcp, tls, peers }).map(([id, state]) => ({ id, state, why: { text: `${id} why`, cure: "" } })));
  assert.deepEqual([of("good", "good", "good", "good").state, of("good", "good", "good", "good").text], ["good", "The relay works, over UDP, TCP and TLS."]);
  assert.deepEqual(of("good", "good", "off", "warn").state, "good");
  assert.deepEqual([of("bad", "good", "off", "off").state, of("bad", "good", "off", "off").detail], ["warn", "udp why"]);
  assert.deepEqual([of("good", "good", "off", "bad").state, of("good", "good", "off", "bad").detail], ["warn", "peers why"]);
  assert.deepEqual(of("bad", "bad", "off", "off").state, "bad");
  assert.deepEqual(of("off", "off", "off", "off").state, "bad");
});
