// What we send: a camera, or a moving picture and a quiet tone, which need neither camera nor https.
import { T } from './strings.mjs';

let stop = () => {};

/** Lets camera, picture and tone go. */
export function stopMedia() {
  stop();
  stop = () => {};
}

function synthetic() {
  const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 240 });
  const pen = canvas.getContext('2d');
  const hue = Math.floor(Math.random() * 360);
  let n = 0;
  const draw = () => {
    n += 1;
    pen.fillStyle = `hsl(${hue} 45% 22%)`;
    pen.fillRect(0, 0, 320, 240);
    for (let i = 0; i < 8; i += 1) {
      const high = 60 + 50 * Math.sin(n / 9 + i);
      pen.fillStyle = `hsl(${hue + i * 22} 70% 60%)`;
      pen.fillRect(14 + i * 37, 195 - high, 28, high);
    }
    pen.fillStyle = '#fff';
    pen.font = '22px system-ui, sans-serif';
    pen.fillText(`${new Date().toLocaleTimeString()}  #${n}`, 14, 34);
  };
  draw();
  const timer = setInterval(draw, 66);
  const stream = canvas.captureStream(15);
  let audio;
  try {
    audio = new AudioContext();
    const tone = audio.createOscillator();
    const volume = audio.createGain();
    volume.gain.value = 0.05;
    tone.frequency.value = 220 + hue;
    const out = audio.createMediaStreamDestination();
    tone.connect(volume).connect(out);
    tone.start();
    stream.addTrack(out.stream.getAudioTracks()[0]);
  } catch { /* a picture is enough */ }
  stop = () => {
    clearInterval(timer);
    stream.getTracks().forEach((track) => track.stop());
    audio?.close();
  };
  return stream;
}

/** The stream for `camera`, `synthetic` or `none` (null). `note` is told why a camera was not to be had. */
export async function startMedia(kind, note) {
  stopMedia();
  if (kind === 'none') return null;
  if (kind === 'camera') {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 480 } });
      stop = () => stream.getTracks().forEach((track) => track.stop());
      return stream;
    } catch (error) {
      note(T.noCamera(error.message));
    }
  }
  return synthetic();
}
