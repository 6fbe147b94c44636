"""The page that plays a film: steps by slider or keys, a cursor along the curves."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from ptr_common.action_space import CONTROL_RATE
from ptr_common.html_page import render_page

from .curves import LEFT, RIGHT, WIDTH
from .timeline import Timeline

STYLE = """
body { max-width: 44rem; margin: 1rem auto }
h1 { font-size: 1.15rem; overflow-wrap: anywhere }
video { display: block; width: 100%; max-height: 55vh; object-fit: contain; background: #10151a }
.steps { display: flex; gap: .5rem; margin: .4rem 0 }
.steps button { flex: 1; min-height: 2.75rem; font: inherit }
input[type=range] { display: block; width: 88%; margin: .2rem 6%; min-height: 2rem }
svg.curves { display: block; width: 100%; touch-action: pan-y }
.now { font-variant-numeric: tabular-nums; min-height: 4.6em; margin: .3rem 0 }
.held { color: #a40000 }
"""

TEMPLATE = """
<p>{{ task }}{% if outcome %}: <b>{{ outcome }}</b>{% endif %}</p>
<video id="video" muted playsinline aria-label="film of {{ name }}"></video>
<input type="range" id="slider" min="0" max="{{ last }}" value="0" aria-label="step">
<div class="steps"><button id="back" aria-label="one step back">◀</button>
<button id="play">play</button><button id="on" aria-label="one step on">▶</button></div>
<p class="now" id="now" aria-live="off"></p>
<div id="curves">{{ curves | safe }}</div>
<p>Slider, or the keys ← → for steps, Home and End, space to play.
{% if holds %}Shaded: the arm held ({{ holds | join("; ") }}). {% endif %}
{% if clips %}Red ticks: a limit changed a command. {% endif %}
{% if marks %}Dotted: {{ marks | join("; ") }}.{% endif %}</p>
<script type="application/json" id="data">{{ data | safe }}</script>
<script>{{ script | safe }}</script>
"""

SCRIPT = """
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const video = $("video"), slider = $("slider"), svg = document.querySelector("svg.curves");
const bytes = Uint8Array.from(atob(data.film), (c) => c.charCodeAt(0));
video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
cursor.setAttribute("y1", 0);
cursor.setAttribute("y2", svg.viewBox.baseVal.height);
cursor.setAttribute("stroke", "#1d2733");
cursor.id = "cursor";
svg.append(cursor);
const last = data.steps.length - 1;
let step = 0;
function show(wanted, seek) {
  step = Math.max(0, Math.min(last, wanted));
  const now = data.steps[step];
  slider.value = step;
  slider.setAttribute("aria-valuetext", `step ${step} of ${last}`);
  cursor.setAttribute("x1", now.x);
  cursor.setAttribute("x2", now.x);
  $("now").textContent = now.text;
  $("now").classList.toggle("held", now.held);
  if (seek) video.currentTime = (step + 0.5) / data.rate;
}
function go(wanted) { video.pause(); show(wanted, true); }
function toggle() {
  if (!video.paused) { video.pause(); return; }
  if (step === last) show(0, true);
  video.play();
}
function follow() {
  if (video.paused) return;
  show(Math.floor(video.currentTime * data.rate), false);
  requestAnimationFrame(follow);
}
video.addEventListener("play", () => { $("play").textContent = "pause"; follow(); });
video.addEventListener("pause", () => { $("play").textContent = "play"; });
video.addEventListener("ended", () => show(last, false));
video.addEventListener("loadeddata", () => show(step, true), { once: true });
video.addEventListener("click", toggle);
$("play").addEventListener("click", toggle);
$("back").addEventListener("click", () => go(step - 1));
$("on").addEventListener("click", () => go(step + 1));
slider.addEventListener("input", () => go(Number(slider.value)));
function point(event) {
  const box = svg.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * data.width;
  let nearest = 0;
  data.steps.forEach((s, i) => {
    if (Math.abs(s.x - x) < Math.abs(data.steps[nearest].x - x)) nearest = i;
  });
  go(nearest);
}
svg.addEventListener("pointerdown", point);
svg.addEventListener("pointermove", (event) => { if (event.buttons) point(event); });
document.addEventListener("keydown", (event) => {
  const keys = { ArrowLeft: step - 1, ArrowRight: step + 1, Home: 0, End: last };
  if (event.target === slider && event.key !== " ") return;
  if (event.key in keys) { event.preventDefault(); go(keys[event.key]); }
  if (event.key === " " && event.target.tagName !== "BUTTON") { event.preventDefault(); toggle(); }
});
show(0, true);
"""


def player_page(timeline: Timeline, times: np.ndarray, curves: str, mp4: bytes) -> str:
    """Return the page.

    Args:
        timeline: What the film shows.
        times: Of the film's images on its axis [s], shape (n,).
        curves: The SVG element of `curves_svg`.
        mp4: The film.
    """
    steps = []
    for step, time in enumerate(times):
        steps.append(_step(timeline, step, float(time)))
    data = {
        "film": base64.b64encode(mp4).decode(),
        "rate": round(CONTROL_RATE),
        "width": WIDTH,
        "steps": steps,
    }
    # "<" would end the element in which the text stands, as in a task </script>
    text = json.dumps(data, ensure_ascii=False).replace("<", r"\u003c")
    return render_page(
        timeline.title,
        TEMPLATE,
        style=STYLE,
        name=timeline.title,
        task=timeline.task,
        outcome=timeline.outcome,
        last=len(steps) - 1,
        curves=curves,
        holds=[f"{span.start:.1f} s {span.text}" for span in timeline.holds],
        clips=len(timeline.clips),
        marks=[f"{mark.time:.1f} s {mark.text}" for mark in timeline.marks],
        data=text,
        script=SCRIPT,
    )


def _step(timeline: Timeline, step: int, time: float) -> dict[str, Any]:
    """Return what the page shows at one step: the cursor's place, and the values in words."""
    share = time / timeline.seconds if timeline.seconds > 0 else 0.0
    parts = [f"step {step}, {time:.1f} s"]
    q = timeline.q.at(time)
    if q is not None and np.isfinite(q).all():
        parts.append(f"Q {q[0]:.3f} and {q[1]:.3f}")
    for name, series in (
        ("requested", timeline.requested),
        ("executed", timeline.executed),
    ):
        action = series.at(time)
        if action is not None:
            parts.append(f"{name} {_action_text(action)}")
    held = [span.text for span in timeline.holds if span.start <= time <= span.end]
    parts += [f"HELD: {text}" for text in held[:1]]
    x = LEFT + min(1.0, max(0.0, share)) * (RIGHT - LEFT)
    return {"x": round(x, 1), "text": " · ".join(parts), "held": bool(held)}


def _action_text(action: np.ndarray) -> str:
    """Return an action in words, (7,): millimetres, degrees, opening."""
    moves = " ".join(f"{value:.0f}" for value in np.round(1e3 * action[:3]) + 0.0)
    turns = " ".join(f"{value:.0f}" for value in np.round(np.degrees(action[3:6])) + 0.0)
    return f"{moves} mm, {turns}°, gripper {action[6]:.2f}"
