"use strict";
// Draws the panels from the JSON in the page, again whenever the filter or a choice changes.
const D = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7A7A7A"];
const ROWS_AT_ONCE = 100, BARS = 40;
const REPETITION = ["seed", "fold"];
const lower = new Set(D.lower_is_better);
let sorted = { column: "started", down: true }, rowsShown = ROWS_AT_ONCE;

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const text = (value) => (value === null || value === undefined || value === "" ? "-" : String(value));
const number = (value) => (value === null || value === undefined ? "-" : value.toFixed(3));
const value = (run, metric) => (run.metrics[metric] ? run.metrics[metric][0] : null);
const haystack = (run) =>
  [run.name, run.status, run.reason, ...Object.entries(run.settings).map(([k, v]) => `${k}=${text(v)}`)].join(" ").toLowerCase();
D.runs.forEach((run) => { run.haystack = haystack(run); });

function visible() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  return D.runs.filter((run) => words.every((word) => run.haystack.includes(word)));
}

// A run, or the mean over the runs that differ in seed and fold alone, with the range as its interval.
function units(runs, metric) {
  const measured = runs.filter((run) => value(run, metric) !== null);
  if ($("grouped").value === "runs") {
    return measured.map((run) => ({ name: run.name, run, settings: run.settings, at: run.metrics[metric] }));
  }
  const groups = new Map(), differing = D.varying.filter((key) => !REPETITION.includes(key) && new Set(measured.map((run) => text(run.settings[key]))).size > 1);
  const nameOf = (run) => differing.map((key) => `${key}=${text(run.settings[key])}`).join(" ") || "all";
  measured.forEach((run) => groups.set(nameOf(run), [...(groups.get(nameOf(run)) || []), run]));
  return [...groups].map(([name, members]) => {
    const values = members.map((run) => value(run, metric));
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    return { name: `${name} (${members.length})`, run: members[0], settings: members[0].settings,
             at: [mean, Math.min(...values), Math.max(...values)] };
  });
}

function colourOf(runs) {
  const key = $("colour").value;
  const of = (run) => (key === "" ? "all" : key === "group" ? run.group : text(run.settings[key]));
  const names = [...new Set(D.runs.map(of))];
  return { of, names, colour: (name) => COLOURS[names.indexOf(name) % COLOURS.length] };
}

function layout(more) {
  const ink = css("--ink"), line = css("--line");
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  const { xaxis, yaxis, ...rest } = more;
  return { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 12 },
           margin: { l: 50, r: 15, t: 10, b: 40 }, hovermode: "closest",
           legend: { orientation: "h", y: -0.2, font: { size: 11 } },
           xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest };
}
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
const draw = (id, traces, more) => Plotly.react($(id), traces, layout(more), CONFIG);
const best = (metric) => (a, b) => (lower.has(metric) ? a.at[0] - b.at[0] : b.at[0] - a.at[0]);
const short = (name, width = 34) => (name.length > width ? "…" + name.slice(1 - width) : name);

function bars(runs, metric) {
  const all = units(runs, metric).sort(best(metric)), shown = all.slice(0, BARS).reverse(), paint = colourOf();
  const names = [...new Set(shown.map((unit) => paint.of(unit.run)))];
  const traces = names.map((name) => {
    const own = shown.filter((unit) => paint.of(unit.run) === name);
    return { type: "scatter", mode: "markers", name, x: own.map((u) => u.at[0]), y: own.map((u) => shown.indexOf(u)),
             marker: { color: paint.colour(name), size: 8 },
             error_x: { type: "data", symmetric: false, color: paint.colour(name), thickness: 1.5, width: 0,
                        array: own.map((u) => (u.at[2] ?? u.at[0]) - u.at[0]), arrayminus: own.map((u) => u.at[0] - (u.at[1] ?? u.at[0])) },
             text: own.map((u) => `${u.name}<br>${number(u.at[0])} (${number(u.at[1])} to ${number(u.at[2])})`), hoverinfo: "text" };
  });
  const label = D.labels[metric] || metric;
  $("bars-title").textContent = `Test: ${label}` + (all.length > BARS ? `, best ${BARS} of ${all.length}` : "");
  $("bars-note").textContent = $("grouped").value === "runs" ? "Points with 95 % intervals, best first." : "Means over seeds and folds with their range, best first; in brackets how many runs.";
  const narrow = window.innerWidth < 640;
  draw("bars", traces, { height: Math.max(200, 70 + 20 * shown.length), showlegend: names.length > 1 && names.length < 9,
    xaxis: {}, // the panel's heading names the metric; a title would lie under the legend on a phone
    yaxis: { tickvals: shown.map((_, i) => i), ticktext: shown.map((u) => short(u.name, narrow ? 16 : 48)), range: [-0.7, shown.length - 0.3] } });
}

// One trace for each colour, with gaps between runs: hundreds of traces would be slow.
function curves(runs) {
  const key = $("curve").value, paint = colourOf(), own = new Map();
  runs.forEach((run) => {
    const curve = run.curves[key];
    if (!curve) return;
    const name = paint.of(run);
    if (!own.has(name)) own.set(name, { x: [], y: [], text: [] });
    const trace = own.get(name);
    curve[0].forEach((epoch, i) => { trace.x.push(epoch); trace.y.push(curve[1][i]); trace.text.push(run.name); });
    trace.x.push(null); trace.y.push(null); trace.text.push("");
  });
  const traces = [...own].map(([name, t]) => ({ type: "scatter", mode: t.x.length < 400 ? "lines+markers" : "lines", name, ...t, marker: { size: 4 },
    connectgaps: false, line: { color: paint.colour(name), width: 1.3 }, opacity: 0.8, hovertemplate: "%{text}<br>epoch %{x}: %{y}<extra></extra>" }));
  draw("curves", traces, { height: 340, showlegend: own.size > 1 && own.size < 9, xaxis: { title: { text: "epoch" } }, yaxis: { title: { text: key } } });
}

function parallel(runs, metric) {
  const measured = runs.filter((run) => value(run, metric) !== null);
  const keys = D.varying.filter((key) => new Set(measured.map((run) => text(run.settings[key]))).size > 1);
  $("parallel-section").hidden = keys.length === 0 || measured.length < 2;
  if ($("parallel-section").hidden) return;
  const dimensions = keys.map((key) => {
    const values = measured.map((run) => run.settings[key]);
    if (values.every((v) => typeof v === "number")) {
      const logarithmic = Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) >= 10;
      const ticks = [...new Set(values)].sort((a, b) => a - b);
      const scale = (v) => (logarithmic ? Math.log10(v) : v);
      return { label: key, values: values.map(scale), ...(ticks.length <= 8 || logarithmic ? { tickvals: ticks.slice(0, 12).map(scale), ticktext: ticks.slice(0, 12).map(String) } : {}) };
    }
    const names = [...new Set(values.map(text))].sort();
    return { label: key, values: values.map((v) => names.indexOf(text(v))), tickvals: names.map((_, i) => i), ticktext: names.map((n) => short(n, 18)), range: [-0.2, Math.max(names.length - 0.8, 0.2)] };
  });
  const scores = measured.map((run) => value(run, metric));
  dimensions.push({ label: D.labels[metric] || metric, values: scores });
  // Characters between two axes; the margins hold half of the outer labels.
  const room = Math.max(8, Math.floor(($("parallel").clientWidth - 170) / Math.max(1, dimensions.length - 1) / 6.5));
  for (const one of dimensions) if (one.label.length > room) one.label = short(one.label === D.labels[metric] ? metric : one.label.split(".").pop(), room);
  const canvas = document.createElement("canvas");
  if (!(canvas.getContext("webgl") || canvas.getContext("experimental-webgl"))) {
    $("parallel").textContent = "This panel needs WebGL, which this browser does not offer; the table below holds the same values.";
    return;
  }
  draw("parallel", [{ type: "parcoords", dimensions, line: { color: scores, colorscale: "Viridis", reversescale: lower.has(metric) },
    labelfont: { color: css("--ink"), size: 11 }, tickfont: { color: css("--ink"), size: 10 }, rangefont: { color: css("--soft"), size: 9 } }],
    { height: 340, margin: { l: 90, r: 80, t: 45, b: 25 } });
}

function classes(runs, metric) {
  const shown = units(runs, metric).sort(best(metric)).slice(0, BARS).map((unit) => unit.run).filter((run) => Object.keys(run.classes).length).reverse();
  $("classes-section").hidden = shown.length === 0;
  if (shown.length === 0) return;
  const names = [...new Set(shown.flatMap((run) => Object.keys(run.classes)))];
  const cell = (run, name) => run.classes[name];
  draw("classes", [{ type: "heatmap", zmin: 0, zmax: 1, colorscale: "Viridis", x: names.map((n) => n.replaceAll("_", " ")), y: shown.map((_, i) => i),
    z: shown.map((run) => names.map((name) => (cell(run, name) ? cell(run, name)[0] : null))),
    text: shown.map((run) => names.map((name) => (cell(run, name) ? `${run.name}<br>${name}: ${number(cell(run, name)[0])} (${number(cell(run, name)[1])} to ${number(cell(run, name)[2])}), ${cell(run, name)[3]} photographs` : "-"))),
    hoverinfo: "text", colorbar: { thickness: 10, title: { text: "F1" } } }],
    { height: Math.max(220, 90 + 18 * shown.length), yaxis: { tickvals: shown.map((_, i) => i), ticktext: shown.map((run) => short(run.name, window.innerWidth < 640 ? 14 : 30)) } });
}

function confusion(runs, metric) {
  const able = units(runs, metric).sort(best(metric)).map((unit) => unit.run).filter((run) => Array.isArray(run.confusion) && Array.isArray(run.confusion[0]) && typeof run.confusion[0][0] === "number");
  $("confusion-section").hidden = able.length === 0;
  if (able.length === 0) return;
  const select = $("confusion-run"), before = select.value;
  select.replaceChildren(...able.slice(0, 200).map((run) => new Option(run.name, run.folder)));
  if (able.some((run) => run.folder === before)) select.value = before;
  const run = able.find((one) => one.folder === select.value) || able[0];
  const names = Object.keys(run.classes).map((name) => name.replaceAll("_", " "));
  const shares = run.confusion.map((row) => { const sum = row.reduce((a, b) => a + b, 0) || 1; return row.map((n) => n / sum); });
  draw("confusion", [{ type: "heatmap", zmin: 0, zmax: 1, colorscale: "Blues", reversescale: true, x: names, y: names, z: shares, text: run.confusion,
    texttemplate: "%{text}", hovertemplate: "is %{y}, said %{x}: %{text}<extra></extra>", colorbar: { thickness: 10, title: { text: "share" } } }],
    { height: 360, xaxis: { title: { text: "said" } }, yaxis: { title: { text: "is", standoff: 15 }, autorange: "reversed" } });
}

function latency() {
  $("latency-section").hidden = D.latencies.length === 0;
  if (D.latencies.length === 0) return;
  const rows = D.latencies, metrics = [...new Set(rows.map((row) => row.metric))];
  draw("latency", metrics.map((metric, i) => { const own = rows.filter((row) => row.metric === metric);
    return { type: "scatter", mode: "markers", name: metric, x: own.map((row) => row.ms), y: own.map((row) => row.value), text: own.map((row) => row.name),
             marker: { size: 10, color: COLOURS[i % COLOURS.length] }, hovertemplate: "%{text}<br>%{x} ms, %{y}<extra></extra>" }; }),
    { height: 340, xaxis: { type: "log", dtick: "D2", title: { text: "milliseconds" } }, yaxis: { title: { text: metrics.join(", ") } } });
}

const COLUMNS = [
  { key: "name", label: "run", of: (run) => run.name }, { key: "status", label: "state", of: (run) => run.status },
  ...D.varying.map((key) => ({ key: `setting ${key}`, label: key, of: (run) => run.settings[key] })),
  ...Object.keys(D.labels).filter((key) => D.runs.some((run) => run.metrics[key]))
    .map((key) => ({ key, label: D.labels[key], of: (run) => value(run, key), metric: true })),
  { key: "epochs", label: "epochs", of: (run) => run.epochs }, { key: "minutes", label: "minutes", of: (run) => run.minutes },
  { key: "started", label: "begun", of: (run) => run.started.slice(0, 16).replace("T", " ") },
  ...(D.runs.some((run) => run.reason) ? [{ key: "reason", label: "reason", of: (run) => run.reason }] : []),
];
const unknown = (v) => v === null || v === undefined || v === "";
const isNumber = (column) => D.runs.every((run) => unknown(column.of(run)) || typeof column.of(run) === "number") && D.runs.some((run) => !unknown(column.of(run)));
COLUMNS.forEach((column) => { column.number = isNumber(column); });

function table(runs) {
  const column = COLUMNS.find((one) => one.key === sorted.column) || COLUMNS[0], sign = sorted.down ? -1 : 1;
  const order = [...runs].sort((a, b) => {
    const x = column.of(a), y = column.of(b);
    if (unknown(x) || unknown(y)) return unknown(x) - unknown(y);  // what is not known stands last either way
    return sign * (column.number ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
  });
  $("runs").tHead.rows[0].replaceChildren(...COLUMNS.map((one) => {
    const head = document.createElement("th"), button = document.createElement("button");
    button.type = "button"; button.textContent = one.label + (one === column ? (sorted.down ? " ↓" : " ↑") : "");
    button.onclick = () => { sorted = { column: one.key, down: one === column ? !sorted.down : one.number }; table(visible()); };
    head.scope = "col"; head.setAttribute("aria-sort", one === column ? (sorted.down ? "descending" : "ascending") : "none");
    if (one.number) head.className = "number";
    head.append(button); return head;
  }));
  $("runs").tBodies[0].replaceChildren(...order.slice(0, rowsShown).map(row));
  $("more").hidden = order.length <= rowsShown;
  $("more").textContent = `show all ${order.length} runs`;
}

function row(run) {
  const line = document.createElement("tr");
  COLUMNS.forEach((column) => {
    const cell = line.insertCell();
    if (column.key === "name" && run.link) {
      const link = document.createElement("a"); link.href = run.link; link.textContent = run.name; cell.append(link);
    } else if (column.metric && run.metrics[column.key] && run.metrics[column.key][0] !== null) {
      const [at, low, high] = run.metrics[column.key];
      const interval = document.createElement("span"); interval.className = "interval";
      interval.textContent = unknown(low) || unknown(high) ? "" : ` ${number(low)} to ${number(high)}`;
      cell.append(number(at), interval);
    } else cell.textContent = text(column.of(run));
    cell.className = column.key === "status" ? run.status : column.key === "reason" ? "reason" : column.number ? "number" : "";
    if (column.key === "name") cell.title = run.folder;
  });
  return line;
}

// A panel is drawn when it comes near the screen: with hundreds of runs all of them at once would take seconds.
let stale = new Map();
const near = new Set();
function drawStale(id) {
  const panel = stale.get(id);
  stale.delete(id);
  if (panel) panel();
}
const watcher = new IntersectionObserver((entries) => entries.forEach((entry) => {
  if (entry.isIntersecting) { near.add(entry.target.id); drawStale(entry.target.id); } else near.delete(entry.target.id);
}), { rootMargin: "300px" });

function show() {
  const runs = visible(), metric = $("metric").value, states = {};
  runs.forEach((run) => { states[run.status] = (states[run.status] || 0) + 1; });
  $("summary").textContent = `${runs.length} of ${D.runs.length} runs: ` + (Object.entries(states).map(([s, n]) => `${n} ${s}`).join(", ") || "none fits the filter");
  stale = new Map(Object.entries({ bars, curves, parallel, classes, confusion, latency }).map(([id, panel]) => [id, () => panel(runs, metric)]));
  table(runs);
  document.querySelectorAll("section").forEach((section) => { section.hidden = false; });  // a panel hides its own
  stale.forEach((_, id) => { if (near.has(id)) drawStale(id); });
}

function begin() {
  const metrics = Object.keys(D.labels).filter((key) => D.runs.some((run) => value(run, key) !== null));
  $("metric").replaceChildren(...(metrics.length ? metrics : [D.monitor]).map((key) => new Option(D.labels[key] || key, key)));
  if (metrics.includes(D.monitor)) $("metric").value = D.monitor;
  const settings = D.varying.filter((key) => !REPETITION.includes(key));
  $("colour").replaceChildren(new Option("one colour", ""), ...(settings.length > 1 ? [new Option("all settings", "group")] : []), ...D.varying.map((key) => new Option(key, key)));
  $("colour").value = settings[0] || D.varying[0] || "";
  const shown = [...new Set(D.runs.flatMap((run) => Object.keys(run.curves)))];
  $("curve").replaceChildren(...shown.map((key) => new Option(key, key)));
  if (shown.includes(`val/${D.monitor}`)) $("curve").value = `val/${D.monitor}`;
  let waiting = 0;
  $("filter").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(show, 150); });
  ["metric", "colour", "grouped", "curve", "confusion-run"].forEach((id) => $(id).addEventListener("change", show));
  $("more").addEventListener("click", () => { rowsShown = Infinity; table(visible()); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
  document.querySelectorAll(".plot").forEach((plot) => watcher.observe(plot));
}
begin();
