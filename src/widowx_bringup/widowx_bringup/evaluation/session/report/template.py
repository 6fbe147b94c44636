"""The page of a session's report: its template and its style."""

STYLE = """
h2 { margin-top: 2.4rem; border-bottom: 1px solid #d5dbe1 }
code { padding: .1rem .3rem; border-radius: 3px }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .3rem 1rem }
dt { color: #51606f } dd { margin: 0; min-width: 0; overflow-wrap: anywhere }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .6rem } }
.note { background: #fff6e0; border-left: 4px solid #e0a100; padding: .6rem 1rem }
.verdict { font-size: 1.1rem; border-left: 4px solid #2f6fb2; padding: .3rem 1rem }
.hash { font-family: ui-monospace, monospace; font-size: .85em; overflow-wrap: anywhere }
.text { min-width: 12rem }
.cell { white-space: nowrap } .cell small { display: block }
.solved { color: #136338 } .failed { color: #a3261b } .open, small { color: #51606f }
td a, figure a { display: inline-block; padding: .25rem .4rem .25rem 0 }
summary { padding: .3rem 0 }
.films { display: grid; gap: 1rem;
grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)) }
figure { margin: 0; min-width: 0; border-top: 4px solid #2a9d5c; padding-top: .3rem }
figure.solved, figure.failed { color: inherit }
figure.failed { border-top: 4px dashed #cf4b3f }
figure:target { outline: 3px solid #2f6fb2; outline-offset: .3rem }
figcaption { font-size: .9rem } figure p { margin: .2rem 0; font-size: .85rem }
video { display: block; width: 100%; aspect-ratio: 4 / 3; background: #10151a }
figure img { display: block; width: 100% }
"""

MACROS = """
{% macro mark(state) %}
{% if state == "solved" %}<span class="solved">● solved</span>
{%- elif state == "failed" %}<span class="failed">✕ failed</span>
{%- else %}<span class="open">– void</span>{% endif %}
{% endmacro %}

{% macro matrix(session, base, page) %}
<table>
<caption>Result, steps</caption>
<thead><tr><th scope="col" class="number">scene</th>
{% for method in session.methods %}<th scope="col">{{ method }}</th>{% endfor %}</tr></thead>
<tbody>
{% for scene, cells in session.scenes().items() %}
<tr><th scope="row" class="number">{{ scene }}</th>
{% for method in session.methods %}{% set cell = cells[method] %}
<td class="cell">
{% if cell.counted %}{% set told = cell.counted %}
{{ mark(told.state) }}, {{ told.row.steps }}
<small>
{% if page is not none %}<a href="{{ page | urlencode }}#trial-{{ told.number }}"
 aria-label="film of trial {{ told.number }}">film</a>{% endif %}
{% if told.row.bag and not session.blinded %}
<a href="{{ (base ~ told.row.bag) | urlencode }}/"
 aria-label="bag of trial {{ told.number }}">bag</a>
{% endif %}</small>
{% else %}<span class="open">– open</span>{% endif %}
{% if cell.void %}<small>{{ cell.void }} void</small>{% endif %}
</td>
{% endfor %}</tr>
{% endfor %}
</tbody></table>
{% endmacro %}

{% macro differences(contrasts, cochran, anytime) %}
{% if cochran %}<p>{{ cochran }}.</p>{% endif %}
{% for contrast in contrasts %}
<p class="verdict">{{ contrast.sentence }}.</p>
{% else %}
<p>No two methods have met the same scene so far.</p>
{% endfor %}
{% if anytime %}<p>{{ anytime[0] | upper }}{{ anytime[1:] }}.</p>{% endif %}
<p>Differences are in points of the rate, with Tango's 95 % interval; p is that of McNemar's exact
test of the scenes that only one of both solved
{%- if contrasts | length > 1 %}, adjusted by Holm for {{ contrasts | length }} pairs{% endif %}.
“Not resolved” means that these trials do not tell; it does not mean that the methods are equal.
</p>
{% endmacro %}
"""

TEMPLATE = (
    MACROS
    + """
{% if session.blinded %}
<p class="note">Still blinded: methods have the codes of the session. What would name them (bundles,
data, training, Q, bags) is not on this page before <code>ptr session unblind</code>.</p>
{% endif %}
{% if session.early %}
<p class="note">It was unblinded with trials missing: {{ session.early }}</p>
{% endif %}

<h2>Protocol</h2>
<dl>
{% for name, value in protocol.items() %}<dt>{{ name }}</dt><dd>{{ value }}</dd>
{% endfor %}
</dl>
<details><summary>Order in which the methods met each scene</summary>
<p>{% for scene, methods in session.order().items() -%}
scene {{ scene }}: {{ methods | join(", ") }}{{ "; " if not loop.last }}
{%- endfor %}</p></details>

<h2>Results</h2>
{{ table }}
{{ bars }}
<p>{{ checked }}
{% if not session.blinded %}Each published action and Q can be computed again:
<code>ptr replay BAG --bundle BUNDLE</code>.{% endif %}</p>
<p>For machines: <a href="results.csv">results.csv</a>, <a href="results.json">results.json</a>.</p>

<h2>Differences</h2>
{{ differences(contrasts, cochran, anytime) }}

<h2>Scenes and methods</h2>
{{ matrix(session, "", "") }}

<h2>Void tries</h2>
{% if session.void %}
<p>They ended for a cause outside the policy, count in no rate, and were repeated.</p>
<table><caption>In the order of time</caption>
<thead><tr><th scope="col" class="number">trial</th><th scope="col">method</th>
<th scope="col">ended</th><th scope="col">why</th></tr></thead><tbody>
{% for told in session.void %}
<tr><td class="number">{{ told.number }}</td><td>{{ told.row.method }}</td>
<td>{{ told.at }}</td><td class="text">{{ told.reason }}</td></tr>
{% endfor %}
</tbody></table>
{% else %}<p>None.</p>{% endif %}

<h2>Why trials failed</h2>
{% if reasons %}
<table><caption>Failed trials</caption>
<thead><tr><th scope="col">reason</th>
{% for method in session.methods %}<th scope="col" class="number">{{ method }}</th>{% endfor %}
</tr></thead><tbody>
{% for reason, counts in reasons.items() %}
<tr><th scope="row">{{ reason }}</th>
{% for method in session.methods %}<td class="number">{{ counts[method] }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table>
{% else %}<p>None failed.</p>{% endif %}

<h2>Trials</h2>
<table><caption>In the order in which they were run; those that count</caption>
<thead><tr><th scope="col" class="number">trial</th><th scope="col" class="number">scene</th>
<th scope="col">method</th><th scope="col">result</th><th scope="col" class="number">steps</th>
<th scope="col" class="number">clipped</th><th scope="col" class="number">held</th>
<th scope="col" class="number">rejected</th><th scope="col">why it ended</th>
{% if stages %}<th scope="col">stage</th>{% endif %}
{% if residuals %}<th scope="col">off the start pose</th>{% endif %}
<th scope="col">judge</th></tr></thead><tbody>
{% for told in session.counted %}
<tr><th scope="row" class="number"><a href="#trial-{{ told.number }}">{{ told.number }}</a></th>
<td class="number">{{ told.row.rollout }}</td><td>{{ told.row.method }}</td>
<td class="cell">{{ mark(told.state) }}</td><td class="number">{{ told.row.steps }}</td>
<td class="number">{{ told.row.clipped }}</td><td class="number">{{ told.row.held }}</td>
<td class="number">{{ told.row.rejected }}</td><td class="text">{{ told.reason }}</td>
{% if stages %}<td>{{ told.stage or "–" }}</td>{% endif %}
{% if residuals %}<td>{{ told.residual or "–" }}</td>{% endif %}
<td>{{ told.judge }}</td></tr>
{% endfor %}
</tbody></table>

<h2>Films</h2>
<p>The image is the last one; a film is loaded when it is played. A dashed line above it: failed.
{% if not session.blinded %}The player has steps, and Q and actions on the time axis of the film.
{% endif %}</p>
{% for scene, cells in session.scenes().items() %}
<h3>Scene {{ scene }}{% for method in session.methods if cells[method].counted %}
{% if loop.first %} (seed {{ cells[method].counted.row.layout_seed }}){% endif %}
{% endfor %}</h3>
<div class="films">
{% for method in session.methods if cells[method].counted %}
{% set told = cells[method].counted %}{% set film = films[told.number] %}
<figure class="{{ told.state }}" id="trial-{{ told.number }}">
<figcaption><b>{{ method }}</b>: {{ mark(told.state) }}, {{ told.row.steps }} steps;
trial {{ told.number }}</figcaption>
{% set what = "trial " ~ told.number ~ ": " ~ method ~ ", scene " ~ scene ~ ", " ~ told.state %}
{% if film.video %}
<video controls muted playsinline preload="none" src="{{ film.video | urlencode }}"
 {% if film.poster %}poster="{{ film.poster | urlencode }}"{% endif %}
 aria-label="film of {{ what }}">
</video>
{% endif %}
{% if film.strip %}
<img loading="lazy" src="{{ film.strip | urlencode }}" alt="eight images of {{ what }}">
{% endif %}
{% if film.curves %}
<details><summary>Q and actions</summary>
<img loading="lazy" src="{{ film.curves | urlencode }}" alt="Q and actions of {{ what }}"></details>
{% endif %}
<p>{{ told.reason }}{% if told.stage %}; {{ told.stage }}{% endif %}</p>
{% if not session.blinded %}<p>
{% if film.page %}<a href="{{ film.page | urlencode }}">player</a>{% endif %}
{% if told.row.bag %}<a href="{{ told.row.bag | urlencode }}/">
{{- told.row.bag | replace("bags/", "bag ", 1) }}</a>{% endif %}
</p>{% endif %}
</figure>
{% endfor %}
</div>
{% endfor %}

{% if lineage %}
<h2>Where the methods come from</h2>
{% for one in lineage %}
<h3>{{ one.method }}</h3>
<dl>
<dt>bundle</dt><dd class="hash">{{ one.sha256 }}</dd>
{% if one.info %}
<dt>agent</dt><dd>{{ one.info.agent }}</dd>
<dt>checkpoint</dt><dd>{{ one.checkpoint }}</dd>
{% for role, name, sha256 in one.data %}
<dt>{{ role }} data</dt><dd>{{ name }} <span class="hash">{{ sha256 }}</span></dd>
{% endfor %}
<dt>camera</dt><dd>{{ one.info.camera.name }}, {{ one.info.camera.width }} x
{{ one.info.camera.height }} pixels, seen as {{ one.info.image_width }} x
{{ one.info.image_height }}</dd>
<dt>made by</dt><dd>ptr {{ one.info.code_version }}</dd>
{% else %}
<dt>note</dt><dd>no copy of its bundle.json is in the session</dd>
{% endif %}
{% if one.choice %}<dt>choice</dt><dd>{{ one.choice }}</dd>{% endif %}
</dl>
{% if one.q_trend %}
<p><img src="{{ data_uri(one.q_trend) }}" loading="lazy"
 alt="Q on held-out demonstrations of {{ one.method }}, by checkpoint"></p>
{% endif %}
{% if one.curves %}
<p><img src="{{ one.curves }}" loading="lazy" alt="{{ one.curves_text }}"></p>
{% endif %}
{% if one.text("config.yaml") %}
<details><summary>config.yaml</summary><pre>{{ one.text("config.yaml") }}</pre></details>
{% endif %}
{% endfor %}
{% endif %}

<h2>Versions</h2>
<dl>
{% for name, version in session.begun.versions.items() %}<dt>{{ name }}</dt><dd>{{ version }}</dd>
{% endfor %}
</dl>
"""
)
"""The page of one session."""
