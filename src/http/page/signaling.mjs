// Our own words on /ws: join a room, hear who is there, and carry descriptions and candidates.
import { T } from './strings.mjs';
import { here } from './ui.mjs';

const JOIN_MS = 15000;

export async function refusal(answer) {
  try {
    const { error } = await answer.json();
    return new Error(`${error.message} ${error.help}`);
  } catch {
    return new Error(T.answered(answer.status));
  }
}

/** A room for `meeting`: the one where all meet who name none, if there is one; else one that nobody guesses. */
export async function freshRoom(meeting) {
  const answer = await fetch(here('v1/rooms'), { method: 'POST', cache: 'no-store' });
  if (!answer.ok) throw await refusal(answer);
  const rooms = await answer.json();
  return (meeting && rooms.default) || rooms.room;
}

export class Signaling {
  /** Joins a room; resolves with the line once the welcome has come. */
  static open(room, name) {
    return new Promise((resolve, reject) => {
      const url = here('ws');
      url.protocol = url.protocol.replace('http', 'ws');
      url.searchParams.set('room', room);
      const socket = new WebSocket(url);
      const line = new Signaling(socket);
      let error = '';
      const fail = (reason) => {
        clearTimeout(timer);
        reject(new Error(reason));
        socket.close();
      };
      const timer = setTimeout(() => fail(T.socketSilent), JOIN_MS);
      socket.onopen = () => socket.send(JSON.stringify({ join: { room, name } }));
      socket.onmessage = ({ data }) => {
        const frame = JSON.parse(data);
        if (frame.error) error = `${frame.error.message} ${frame.error.help}`;
        if (!frame.welcome) return;
        clearTimeout(timer);
        line.welcome = frame.welcome;
        socket.onmessage = (event) => line.frame(JSON.parse(event.data));
        socket.onclose = (event) => line.onclose(event.reason || T.socketBroke);
        resolve(line);
      };
      socket.onclose = (event) => fail(error || event.reason || T.socketShut);
    });
  }

  constructor(socket) {
    this.socket = socket;
    this.waiting = [];
    this.onclose = () => {};
  }

  /** Frames that come before somebody listens wait. */
  listen(handler) {
    this.handler = handler;
    this.waiting.splice(0).forEach(handler);
  }

  frame(frame) {
    if (this.handler) this.handler(frame);
    else this.waiting.push(frame);
  }

  send(to, data) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ to, data }));
  }

  close() {
    this.onclose = () => {};
    this.socket.close(1000);
  }
}
