// What we send: a camera, or a moving picture and a quiet tone, which need neither camera nor https.

/** Picture and tone, until they are stopped. */
function synthetic() {
  const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 240 });
  const pen = canvas.getContext('2d');
  pen.font = '22px sans-serif';
  const hue = Math.floor(Math.random() * 360);
  const box = (color, ...place) => {
    pen.fillStyle = `hsl(${color})`;
    pen.fillRect(...place);
  };
  const draw = () => {
    const now = performance.now() / 600;
    box(`${hue} 45% 22%`, 0, 0, 320, 240);
    for (let i = 0; i < 8; i += 1) {
      const high = 60 + 50 * Math.sin(now + i);
      box(`${hue + i * 22} 70% 60%`, 14 + i * 37, 195 - high, 28, high);
    }
    pen.fillStyle = '#fff';
    pen.fillText(new Date().toLocaleTimeString(), 14, 34);
  };
  draw();
  const stream = canvas.captureStream(15);
  let audio;
  try {
    audio = new AudioContext();
    const tone = new OscillatorNode(audio, { frequency: 220 + hue });
    const out = audio.createMediaStreamDestination();
    tone.connect(new GainNode(audio, { gain: 0.05 })).connect(out);
    tone.start();
    stream.addTrack(out.stream.getAudioTracks()[0]);
  } catch { /* a picture is enough */ }
  const timer = setInterval(() => {
    if (stream.active) return draw();
    clearInterval(timer);
    return audio?.close();
  }, 66);
  return stream;
}

/** The stream for `camera`, `synthetic` or `none` (null). `note` is told why a camera was not to be had. */
export async function startMedia(kind, note) {
  if (kind === 'none') return null;
  try {
    if (kind === 'camera') return await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 480 } });
  } catch ({ message }) {
    note(`No camera or microphone (${message}); sending the test picture.`);
  }
  return synthetic();
}
