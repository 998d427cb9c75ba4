// The parts of an ICE server's address.

/** `{scheme, host, port, transport}` of a `turn:` or `stun:` URL; null for anything else. */
export function parseUrl(url) {
  const found = /^(stuns?|turns?):(\[[^\]]+\]|[^:?]+)(?::(\d+))?(?:\?transport=(\w+))?$/.exec(url);
  if (!found) return null;
  const [, scheme, host, port, asked] = found;
  const secure = scheme.endsWith('s');
  return { scheme, host, port: Number(port ?? (secure ? 5349 : 3478)), transport: secure ? 'tls' : asked ?? 'udp' };
}
