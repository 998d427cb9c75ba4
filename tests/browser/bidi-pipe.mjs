// Starts Firefox and carries WebDriver BiDi between its WebSocket and this process's own input and output, a message a
// line. It runs inside a network namespace, where nobody outside could reach Firefox's port.
//   node bidi-pipe.mjs PROFILE
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { WebSocket } from "ws";

const firefox = spawn(
  "firefox-esr", ["--headless", "--no-remote", "--profile", process.argv[2], "--remote-debugging-port", "0"],
  { stdio: ["ignore", "ignore", "pipe"] },
);
const end = (code) => {
  firefox.kill("SIGKILL");
  process.exit(code);
};
firefox.on("exit", (code) => end(code ?? 1));
const orders = createInterface({ input: process.stdin });
const early = [];
orders.on("line", (line) => early.push(line));
orders.on("close", () => end(0));

const errors = createInterface({ input: firefox.stderr });
errors.on("line", (line) => {
  const place = /WebDriver BiDi listening on (ws:\S+)/.exec(line)?.[1];
  if (!place) return;
  const socket = new WebSocket(`${place}/session`);
  socket.on("open", () => {
    orders.removeAllListeners("line");
    orders.on("line", (order) => socket.send(order));
    early.forEach((order) => socket.send(order));
  });
  socket.on("message", (data) => process.stdout.write(`${data}\n`));
  socket.on("error", (error) => {
    process.stderr.write(`${error}\n`);
    end(1);
  });
  socket.on("close", () => end(1));
});
