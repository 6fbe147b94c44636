"use strict";
// The server sends a view: images as binary messages, then the state as JSON. Each answer names
// the newest view that was shown. Messages of this page, all with `shown`: `motion` (six numbers,
// every 0.1 s while something is held; zeros at the end), `press` (a button, with `reason`),
// `drive` (true, false), `task`.
const HEARTBEAT = 100; // [ms]
const STALE = 1.5; // age from which an image is shown as old [s]
const MOVES = {
  w: "0 1", s: "0 -1", a: "1 1", d: "1 -1", r: "2 1", f: "2 -1",
  o: "3 1", u: "3 -1", k: "4 1", i: "4 -1", j: "5 1", l: "5 -1",
};
const PRESSES = {
  e: "enable", h: "home", 1: "record", 2: "save", 3: "fail", 4: "discard", 5: "again",
  n: "scene", g: "gripper", "+": "faster", "-": "slower",
};
const at = (id) => document.getElementById(id);
const all = (selector) => document.querySelectorAll(selector);

let socket = null;
let view = null;
let line = 0;
const arrivals = new Map(); // figure of a camera -> when its newest image came [ms]
const held = new Map(); // what holds a motion (key or pointer) -> "dimension direction"
let moved = false; // whether the newest motion sent was one

// --- connection ------------------------------------------------------------------------------

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/live${location.search}`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = (event) => {
    if (typeof event.data === "string") {
      view = JSON.parse(event.data);
      show(view);
      send({});
    } else {
      showImage(new Uint8Array(event.data));
    }
  };
  socket.onclose = () => {
    lost("The connection to the console is lost. Nothing moves from here; trying again …");
    release();
    setTimeout(connect, 1000);
  };
  socket.onopen = () => lost("");
}

function send(message) {
  if (socket.readyState === WebSocket.OPEN && view) {
    socket.send(JSON.stringify({ shown: view.view, ...message }));
  }
}

function lost(text) {
  at("lost").textContent = text;
  at("lost").hidden = !text;
  document.body.classList.toggle("lost", Boolean(text));
}

// --- motion: only while something is held ------------------------------------------------------

const drives = () => Boolean(view && view.drive.driver === view.me);

function hold(source, move) {
  if (drives() && held.get(source) !== move) {
    held.set(source, move);
    beat();
  }
}

function release(source) {
  if (source === undefined) held.clear();
  else held.delete(source);
  beat();
}

function beat() {
  if (!drives()) held.clear();
  const motion = [0, 0, 0, 0, 0, 0];
  for (const move of held.values()) {
    const [dimension, direction] = move.split(" ").map(Number);
    motion[dimension] = Math.max(-1, Math.min(1, motion[dimension] + direction));
  }
  const moves = motion.some((value) => value !== 0);
  if (moves || moved) send({ motion });
  moved = moves;
  for (const pad of all("[data-move]")) {
    pad.classList.toggle("held", [...held.values()].includes(pad.dataset.move));
  }
}

setInterval(() => { if (held.size || moved) beat(); }, HEARTBEAT);
addEventListener("blur", () => release());
addEventListener("pagehide", () => release());
document.addEventListener("visibilitychange", () => { if (document.hidden) release(); });

for (const pad of all("[data-move]")) {
  pad.addEventListener("pointerdown", (event) => {
    if (event.button === 0) {
      pad.setPointerCapture(event.pointerId);
      hold(`pointer ${event.pointerId}`, pad.dataset.move);
    }
  });
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
    pad.addEventListener(kind, (event) => release(`pointer ${event.pointerId}`));
  }
  pad.addEventListener("contextmenu", (event) => event.preventDefault());
}

// --- buttons and keys --------------------------------------------------------------------------

function press(name) {
  const reason = at("reason").value;
  const judges = ["save", "fail", "discard"].includes(name);
  send(judges ? { press: name, reason } : { press: name });
  if (judges) at("reason").value = "";
  if (name === "stop") release();
}

for (const button of all("[data-press]")) {
  button.addEventListener("click", () => press(button.dataset.press));
}
at("drive").addEventListener("click", () => send({ drive: !drives() }));
at("task").addEventListener("input", () => { at("task-set").hidden = false; });
at("task-form").addEventListener("submit", (event) => {
  event.preventDefault();
  send({ task: at("task").value });
  at("task-set").hidden = true;
  at("task").blur();
});

addEventListener("keydown", (event) => {
  const types = event.target.matches("input");
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Escape" || (event.key === " " && !types)) {
    event.preventDefault(); // also on a focused button: Space always stops
    if (!event.repeat) press("stop");
  } else if (!types && event.key === "Enter" && event.target.matches("[data-move]")) {
    event.preventDefault();
    hold("Enter", event.target.dataset.move);
  } else if (!types) {
    const key = event.key.toLowerCase();
    if (MOVES[key]) hold(event.code, MOVES[key]);
    else if (PRESSES[key] && !event.repeat) press(PRESSES[key]);
  }
});
addEventListener("keyup", (event) => {
  if (event.key === " " && !event.target.matches("input")) event.preventDefault();
  release(event.key === "Enter" ? "Enter" : event.code);
});

// --- what is shown -----------------------------------------------------------------------------

function set(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

function showImage(message) {
  const length = message[0];
  const camera = new TextDecoder().decode(message.subarray(1, 1 + length));
  let figure = at(`camera ${camera}`);
  if (!figure) {
    if (!document.querySelector("#cameras figure")) at("cameras").replaceChildren();
    figure = document.createElement("figure");
    figure.id = `camera ${camera}`;
    const caption = document.createElement("figcaption");
    caption.dataset.camera = camera.replaceAll("_", " ");
    const image = document.createElement("img");
    image.alt = `live image of the camera ${camera}`;
    figure.append(image, caption);
    at("cameras").append(figure);
  }
  arrivals.set(figure, performance.now());
  const image = figure.firstChild;
  const url = URL.createObjectURL(new Blob([message.subarray(1 + length)], { type: "image/jpeg" }));
  image.onload = image.onerror = () => URL.revokeObjectURL(url);
  image.src = url;
}

function showAges() {
  for (const [figure, arrival] of arrivals) {
    const age = (performance.now() - arrival) / 1000;
    const old = age > STALE;
    const caption = figure.lastChild;
    const text = caption.dataset.camera + (old ? `: no new image for ${age.toFixed(0)} s` : "");
    if (caption.textContent !== text) caption.textContent = text;
    figure.classList.toggle("stale", old);
  }
}

function pairs(id, rows) {
  const list = at(id);
  rows.forEach(([name, value], index) => {
    let pair = list.children[index];
    if (!pair) {
      pair = list.appendChild(document.createElement("div"));
      pair.append(document.createElement("dt"), document.createElement("dd"));
    }
    const [term, text] = pair.children;
    if (term.textContent !== name) term.textContent = name;
    if (text.textContent !== value) text.textContent = value;
  });
  while (list.children.length > rows.length) list.lastChild.remove();
}

const degrees = (radians) => `${((radians * 180) / Math.PI).toFixed(0)}°`;
const millimetres = (metres) => `${(metres * 1000).toFixed(0)}`;
const digits = (value) => (value === null ? "–" : value.toPrecision(3));
const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function show(now) {
  showStatus(now);
  showAges();
  showEpisode(now);
  showDrive(now);
  showPolicy(now);
  showSession(now.session);
  const lines = at("lines");
  for (const [number, text] of now.lines) {
    if (number <= line) continue;
    line = number;
    const item = document.createElement("li");
    item.textContent = text;
    lines.append(item);
    while (lines.children.length > 100) lines.firstChild.remove();
    lines.scrollTop = lines.scrollHeight;
  }
}

function showStatus(now) {
  const arm = now.arm;
  const missing = now.missing.length > 0;
  const status = missing || !arm ? "waiting" : arm.status;
  const names = now.missing.map((text) => text.split(" (")[0]); // without the seconds, read aloud
  const text = missing ? `no message of ${names.join(" and ")}` : arm ? arm.reason : "";
  at("status").className = status;
  const name = document.createElement("strong");
  name.textContent = status === "ok" ? "arm ok" : status;
  if (at("status").textContent !== `${name.textContent} ${text}`) {
    at("status").replaceChildren(name, ` ${text}`);
  }
  if (!arm) return;
  const [x, y, z, roll, pitch, yaw, gripper] = arm.proprio;
  pairs("arm", [
    ["x, y, z [mm]", [x, y, z].map(millimetres).join(", ")],
    ["roll, pitch, yaw", [roll, pitch, yaw].map(degrees).join(", ")],
    ["gripper open", `${(gripper * 100).toFixed(0)} %`],
    ["speed", `${millimetres(arm.speed)} mm/s`],
    ["age of the image", now.image_age === null ? "–" : `${now.image_age.toFixed(2)} s`],
    ["clipped, held, rejected", `${arm.clipped}, ${arm.held}, ${arm.rejected}`],
  ]);
}

function showEpisode(now) {
  const task = at("task");
  if (document.activeElement !== task && at("task-set").hidden) task.value = now.task;
  if (at("tasks").children.length !== now.tasks.length) {
    at("tasks").replaceChildren(...now.tasks.map((name) => new Option(name)));
  }
  const episode = now.episode;
  const whose = episode && !episode.own ? ` of another node (${episode.name})` : "";
  const state = now.awaited ? `waiting for ${now.awaited}`
    : episode?.over ? `over, without a verdict: ${episode.name}`
      : episode ? `● running ${clock(episode.seconds)}${whose}` : "no episode is running";
  set("episode", state);
  const theirs = Boolean(now.drive.driver) && now.drive.driver !== now.me;
  for (const button of all("[data-ends]")) {
    const ends = episode || (now.awaited && button.dataset.press === "discard");
    button.disabled = theirs || !ends;
  }
  const busy = theirs || Boolean((episode && !episode.over) || now.awaited);
  for (const name of ["record", "home", "scene"]) {
    document.querySelector(`[data-press=${name}]`).disabled = busy;
  }
  at("scene").hidden = !now.simulated;
  const { count, enough, rollouts, recorder } = now.set;
  at("meter").max = enough;
  at("meter").value = Math.min(count, enough);
  const lacks = recorder ? "" : " (no recorder: nothing is saved)";
  at("meter").hidden = Boolean(now.policy);
  set("meter-label", now.policy
    ? `judged here: ${rollouts[0]} of ${rollouts[1]} rollouts succeeded${lacks}`
    : `${count} of ${enough} demonstrations${lacks}`);
}

function showDrive(now) {
  const { driver, others, speed, gripper } = now.drive;
  const mine = driver === now.me;
  const state = mine ? `you drive, at ${(speed * 100).toFixed(0)} % of the longest step`
    : driver ? `${driver} drives`
      : others.length ? `${others.join(", ")} commands the arm` : "nobody drives";
  set("drive-state", state);
  set("drive", mine ? "Let go" : driver ? "Take over" : "Drive the arm");
  at("drive").disabled = !mine && others.length > 0;
  at("drive").classList.toggle("mine", mine);
  at("pads").hidden = !mine;
  document.body.classList.toggle("drives", mine);
  at("gripper").firstChild.textContent = gripper > 0.5 ? "Close the gripper " : "Open the gripper ";
  if (!mine && held.size) release();
}

function showPolicy(now) {
  const policy = now.policy;
  at("policy").hidden = !policy;
  if (!policy) return;
  const reason = policy.reason ? `: ${policy.reason}` : "";
  if (policy.hidden) {
    set("policy-state", `${policy.status} (Q and bundle are hidden while the session is blind)`);
    at("plot").parentElement.hidden = true;
    return;
  }
  at("plot").parentElement.hidden = false;
  const values = policy.q_values.map(digits).join(", ");
  set("policy-state", `${policy.status}${reason}; ${policy.task || "no task"}; Q ${values}; `
    + `bundle ${policy.bundle}, ${policy.execution}`);
  plot(policy);
}

function plot({ q, first, band }) {
  const steps = Math.max(20, first + q.length, band ? band.low.length : 0);
  const values = q.filter((value) => value !== null);
  const extent = band ? values.concat(band.low, band.high) : values;
  const low = Math.min(...extent);
  const high = Math.max(...extent);
  const span = high - low || 1;
  const point = (step, value) =>
    `${((step / (steps - 1)) * 470 + 5).toFixed(1)},${(118 - ((value - low) / span) * 100).toFixed(1)}`;
  const line = q.map((value, index) => (value === null ? "" : point(first + index, value)));
  at("q").setAttribute("points", line.join(" "));
  const edge = band
    ? band.high.map((value, step) => point(step, value)).concat(
        band.low.map((value, step) => point(step, value)).reverse())
    : [];
  at("band").setAttribute("points", edge.join(" "));
  set("plot-high", extent.length ? `Q ${digits(high)}` : "");
  set("plot-low", extent.length ? digits(low) : "");
  set("plot-end", `${steps} steps`);
  set("plot-caption", band
    ? "smaller Q of both heads at each step; green: the band of good demonstrations"
    : "smaller Q of both heads at each step; the bundle has no band of good demonstrations");
}

function showSession(session) {
  at("session").hidden = !session;
  if (!session) return;
  if (session.problem) {
    set("session-state", session.problem);
    pairs("session-numbers", []);
    return;
  }
  const running = session.pending === null ? "no trial runs"
    : `trial ${session.pending + 1} runs, method ${session.code}`;
  set("session-state", `${session.task}: ${running}`);
  at("session-bar").max = session.planned;
  at("session-bar").value = session.done;
  const rows = [["trials done", `${session.done} of ${session.planned}`], ["void", `${session.void}`]];
  for (const [name, [solved, trials]] of Object.entries(session.results || {})) {
    rows.push([name, `${solved} of ${trials}`]);
  }
  if (!session.results) rows.push(["results", "after ptr session unblind"]);
  pairs("session-numbers", rows);
}

connect();
