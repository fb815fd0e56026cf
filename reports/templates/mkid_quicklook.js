"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const kinds = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };
  async function unpack(part) {
    const text = atob(part.data), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new kinds[part.kind](await new Response(stream).arrayBuffer());
  }
  const arrays = {};
  for (const name of Object.keys(data.arrays)) arrays[name] = await unpack(data.arrays[name]);
  const { rows, columns, steps, colours, streamSteps, histogramSize, phaseBins } = data;
  const pixels = rows * columns;
  const flagColour = (bit) => `hsl(${Math.round(bit * 137.5) % 360} ${60 + (bit % 3) * 15}% ${38 + (bit % 4) * 8}%)`;  // no two the same
  const state = { view: "flags", from: 0, to: steps, wave: [0, colours], hot: false, log: false, x: Math.floor(columns / 2), y: Math.floor(rows / 2), live: null };
  const scale = Math.max(2, Math.floor(560 / Math.max(columns, rows)));

  function element(tag, text, parent, attributes) {
    const made = document.createElement(tag);
    if (text !== undefined && text !== null) made.textContent = String(text);
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    if (parent) parent.appendChild(made);
    return made;
  }

  function namesOf(value) {
    return data.flags.filter((flag) => (value >>> flag.bit) & 1).map((flag) => flag.name);
  }

  function flagOf(value) {  // the worst one; notes are no flaws
    const set = data.flags.filter((one) => one.kind !== "note" && (value >>> one.bit) & 1);
    return set.find((one) => one.kind === "problem") || set[0];
  }

  function viewCounts() {
    const sums = new Float64Array(pixels);
    for (let t = state.from; t < state.to; t++)
      for (let c = state.wave[0]; c < state.wave[1]; c++) {
        const base = (t * colours + c) * pixels;
        for (let p = 0; p < pixels; p++) sums[p] += arrays.cube[base + p];
      }
    return sums;
  }

  const ramp = (v) => {  // viridis, roughly
    const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
    const place = Math.min(Math.max(v, 0), 1) * 4, low = Math.min(Math.floor(place), 3), part = place - low;
    return stops[low].map((a, i) => Math.round(a + (stops[low + 1][i] - a) * part));
  };

  function drawImage() {
    const canvas = $("image"), context = canvas.getContext("2d");
    canvas.width = columns * scale; canvas.height = rows * scale;
    const counts = viewCounts();
    const shown = [];
    let total = 0;
    for (let p = 0; p < pixels; p++) {
      total += counts[p];
      if (!(state.hot && arrays.hot[p])) shown.push(counts[p]);
    }
    shown.sort((a, b) => a - b);
    const low = shown.length ? shown[Math.floor(shown.length * 0.01)] : 0;
    const high = Math.max(shown.length ? shown[Math.min(Math.floor(shown.length * 0.995), shown.length - 1)] : 1, low + 1);
    const level = (v) => state.log ? Math.log1p(Math.max(v - low, 0)) / Math.log1p(high - low) : (v - low) / (high - low);
    for (let p = 0; p < pixels; p++) {
      const x = p % columns, y = rows - 1 - Math.floor(p / columns);
      if (state.hot && arrays.hot[p]) context.fillStyle = "#ffffff";
      else if (state.view === "flags") {
        const flag = flagOf(arrays.flag[p]);
        context.fillStyle = flag ? flagColour(flag.bit) : "#e4e8ec";
      } else context.fillStyle = `rgb(${ramp(level(counts[p])).join(",")})`;
      context.fillRect(x * scale, y * scale, scale, scale);
    }
    context.strokeStyle = "#ff3b30"; context.lineWidth = 2;
    context.strokeRect(state.x * scale - 1, (rows - 1 - state.y) * scale - 1, scale + 2, scale + 2);
    drawScale(low, high, level);
    $("scale-words").textContent = state.view === "flags" ? "colours: see the legend" : `${low} to ${high} photons a pixel; brighter and fainter ones have the colour of the end`;
    const [begin, end] = inView(), seconds = (end - begin).toFixed(3);
    $("status").textContent = `${total} photons in view: steps ${state.from} to ${state.to - 1} of ${steps} (${seconds} s)` +
      (state.hot ? `, ${arrays.hot.reduce((a, b) => a + b, 0)} hot pixels hidden` : "");
  }

  function ticks(low, high, most) {  // whole steps of 1, 2 or 5 times a power of ten
    const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((one) => one * power >= rough * 0.999), first = Math.ceil(low / step - 1e-9);
    return range(Math.max(Math.floor(high / step + 1e-9) - first + 1, 0), (k) => +((first + k) * step).toPrecision(12));
  }

  function drawScale(low, high, level) {  // colours of the counts, with what is beyond their ends in the words below
    const canvas = $("scale"), context = canvas.getContext("2d"), W = canvas.width = Math.min(columns * scale, widthFor(canvas)), H = canvas.height = 34, pad = 24;
    canvas.hidden = state.view === "flags";
    const X = (v) => pad + (v - low) / (high - low) * (W - 2 * pad);
    for (let x = pad; x < W - pad; x++) { context.fillStyle = `rgb(${ramp(level(low + (x - pad) / (W - 2 * pad) * (high - low))).join(",")})`; context.fillRect(x, 0, 1, 14); }
    context.font = "12px sans-serif"; context.fillStyle = "#1f2328"; context.textAlign = "center";
    for (const v of ticks(low, high, 5)) { context.fillRect(X(v), 12, 1, 5); context.fillText(v, X(v), 30); }
  }

  const widthFor = (canvas) => Math.max(canvas.parentElement.clientWidth, 240);

  function plot(canvas, spec) {  // as wide as there is room, so that words keep their size
    const context = canvas.getContext("2d"), W = canvas.width = Math.min(460, widthFor(canvas)), H = canvas.height = 190;
    const left = 52, right = 12, top = 18, bottom = 34;
    context.fillStyle = "#fff"; context.fillRect(0, 0, W, H);
    context.font = "11px sans-serif"; context.fillStyle = "#5d6670"; context.strokeStyle = "#dfe3e8";
    if (spec.none) { context.fillText(spec.none, left, H / 2); return; }
    const { edges, bars } = spec, n = bars.length;
    let most = 1e-9;
    for (const v of bars) if (v > most) most = v;
    for (const line of spec.lines || []) for (const v of line.values) if (Number.isFinite(v) && v > most) most = v;
    const X = (v) => left + (v - edges[0]) / (edges[n] - edges[0]) * (W - left - right);
    const Y = (v) => H - bottom - v / most * (H - top - bottom);
    for (const v of ticks(0, most, 5)) {
      context.beginPath(); context.moveTo(left, Y(v)); context.lineTo(W - right, Y(v)); context.stroke();
      context.textAlign = "right"; context.fillText(v, left - 6, Y(v) + 4);
    }
    context.textAlign = "left"; context.fillText(spec.y || "photons", 4, 10);
    if (spec.band) { context.fillStyle = "#eef3f8"; context.fillRect(X(spec.band[0]), top, X(spec.band[1]) - X(spec.band[0]), H - top - bottom); }
    context.fillStyle = "#d9d2c3";
    for (const [a, b] of spec.unread || []) if (b > edges[0] && a < edges[n]) context.fillRect(X(Math.max(a, edges[0])), top, Math.max(X(Math.min(b, edges[n])) - X(Math.max(a, edges[0])), 1), H - top - bottom);
    context.fillStyle = "#7f9dbb";
    for (let k = 0; k < n; k++) { const a = X(edges[k]), b = X(edges[k + 1]); context.fillRect(a, Y(bars[k]), Math.max(b - a - 0.5, 0.7), Y(0) - Y(bars[k])); }
    let words = left + 4;
    for (const line of spec.lines || []) {
      context.strokeStyle = line.colour; context.lineWidth = 1.6; context.beginPath();
      let pen = false;
      line.values.forEach((v, k) => { if (!Number.isFinite(v)) { pen = false; return; } const a = X((edges[k] + edges[k + 1]) / 2), b = Y(v); if (pen) context.lineTo(a, b); else context.moveTo(a, b); pen = true; });
      context.stroke(); context.fillStyle = line.colour; context.fillText(line.name, words, 12); words += context.measureText(line.name).width + 14;
    }
    context.lineWidth = 1; context.strokeStyle = "#d55e00"; context.fillStyle = "#d55e00";
    let marked = 0;
    for (const mark of spec.marks || []) { context.beginPath(); context.moveTo(X(mark.at), top); context.lineTo(X(mark.at), H - bottom); context.stroke(); const at = [mark.name, X(mark.at) + 3, top + 8 + 12 * (marked++ % 4)]; context.strokeStyle = "#fff"; context.lineWidth = 3; context.strokeText(...at); context.lineWidth = 1; context.strokeStyle = "#d55e00"; context.fillText(...at); }
    context.fillStyle = "#5d6670";
    context.textAlign = "center";
    for (const v of ticks(edges[0], edges[n], 6)) context.fillText(v, Math.min(X(v), W - 12), H - bottom + 14);
    context.textAlign = "left";
    context.fillText(spec.x, left, H - 6);
  }

  const range = (n, f) => Array.from({ length: n }, (_, k) => f(k));

  function pmf(top, ic, is, ip) {  // modified-Rician counts: every term is positive
    const a = is / (1 + is), b = ic / (1 + is) ** 2, logs = [-Math.log1p(is) - ic / (1 + is) - ip];
    let s = 1, t = 1;
    for (let n = 1; n <= top; n++) {
      const r = Math.max((ip + a * s + b * t) / n, 1e-60);
      logs.push(logs[n - 1] + Math.log(r)); s = 1 + a * s / r; t = s + a * t / r;
    }
    return logs.map(Math.exp);
  }

  function histogramOf(bins, width, moments, fitted, source) {  // cells of so many counts each
    let number = 0, top = 0;
    bins.forEach((v, n) => { number += v; if (v) top = n; });
    if (!number || !moments || !Number.isFinite(moments[0])) return { none: "no bins" };
    const [mean, square] = moments;
    top = Math.min(bins.length - 1, top + 2);
    let ic = fitted ? fitted[0] : NaN, is = fitted ? fitted[1] : NaN, how = source;
    if (!Number.isFinite(ic) || !Number.isFinite(is)) {
      ic = Math.sqrt(mean * mean - square + mean); if (!Number.isFinite(ic)) ic = mean / 2;
      ic = Math.min(ic, mean); is = mean - ic; how = "from mean and variance";
    }
    const cells = (p) => range(top + 1, (k) => { let sum = 0; for (let n = k * width; n < (k + 1) * width; n++) sum += p[n]; return sum; });
    const last = (top + 1) * width - 1, poisson = cells(pmf(last, mean, 0, 0)), rician = cells(pmf(last, ic, is, 0));
    return { edges: range(top + 2, (k) => k * width - 0.5), bars: range(top + 1, (k) => bins[k]), y: "bins", x: width > 1 ? `photons in a bin, ${width} in a bar` : "photons in a bin",
      lines: [{ name: `Poisson ${mean.toPrecision(4)}`, colour: "#009e73", values: poisson.map((v) => v * number) },
        { name: `Rician Ic ${ic.toPrecision(3)} Is ${is.toPrecision(3)} ${how}`, colour: "#d55e00", values: rician.map((v) => v * number) }] };
  }

  function phaseMarks(p) {
    const [c0, c1, c2] = [0, 1, 2].map((k) => arrays.coefficients[p * 3 + k]);
    if (!Number.isFinite(c0)) return [];
    const energy = (v) => c0 + c1 * v + c2 * v * v, marks = [];
    for (const nm of [800, 1000, 1200, 1400]) {
      const wanted = 1239.841984 / nm;
      for (let v = data.phaseLow; v < 0; v += 0.25) if ((energy(v) - wanted) * (energy(v + 0.25) - wanted) <= 0) { marks.push({ at: v, name: `${nm} nm` }); break; }
    }
    return marks;
  }

  const unreadOf = (p) => data.unread[arrays.reader[p]];

  function readSeconds(p, from, to) {  // how much of a stretch of time the pixel was read out
    let left = to - from;
    for (const [a, b] of unreadOf(p)) left -= Math.max(Math.min(b, to) - Math.max(a, from), 0);
    return +Math.max(left, 0).toFixed(6);
  }

  const inView = () => [state.from * data.stepSeconds, Math.min(state.to * data.stepSeconds, data.spanSeconds)];

  function pixelData() {
    const p = state.y * columns + state.x;
    return {
      p,
      stream: range(streamSteps, (k) => arrays.stream[p * streamSteps + k]),
      histogram: range(histogramSize, (k) => arrays.histogram[p * histogramSize + k]),
      phase: range(phaseBins, (k) => arrays.phase[p * phaseBins + k]),
      spectrum: range(Math.max(colours - 1, 0), (c) => { let sum = 0; for (let t = state.from; t < state.to; t++) sum += arrays.cube[(t * colours + c) * pixels + p]; return sum; }),
    };
  }

  function drawPixel() {
    const one = pixelData(), live = state.live && state.live.pixel === one.p ? state.live : null;
    const names = namesOf(arrays.flag[one.p]);
    $("pixel-title").textContent = `Pixel x ${state.x}, y ${state.y}: resonator ${arrays.resid[one.p]}, ${names.length ? names.join(", ") : "no flag"}${arrays.hot[one.p] ? ", hot" : ""}`;
    const span = data.spanSeconds, unread = unreadOf(one.p), read = readSeconds(one.p, 0, span);
    const brown = unread.length ? "; brown: not read out" : "";
    if (live) plot($("stream"), { edges: live.edges_s, bars: live.counts, unread, x: `time / s, steps of ${live.step_s} s${brown}` });
    else plot($("stream"), { edges: range(streamSteps + 1, (k) => Math.min(k * data.streamSeconds, span)), bars: one.stream, band: inView(), unread, x: `time / s, steps of ${data.streamSeconds} s${brown}` });
    const fitted = [arrays.rician[one.p * 2], arrays.rician[one.p * 2 + 1]];
    const moments = [arrays.moments[one.p * 2], arrays.moments[one.p * 2 + 1]];
    plot($("histogram"), live ? histogramOf(live.histogram, live.histogram_width, live.moments, live.rician, "fitted") : histogramOf(one.histogram, arrays.width[one.p], moments, fitted, "fitted"));
    plot($("spectrum"), colours > 1 ? { edges: data.edgesNm, bars: one.spectrum, x: "wavelength / nm, photons in the steps in view" } : { none: "no wavelength solution: no spectrum" });
    plot($("phase"), { edges: range(phaseBins + 1, (k) => data.phaseLow + k * (data.phaseHigh - data.phaseLow) / phaseBins), bars: one.phase, marks: phaseMarks(one.p), x: "phase / deg" });
    const total = one.stream.reduce((a, b) => a + b, 0);
    $("pixel-status").textContent = live ? `${live.photons} photons from ${live.start_s} to ${live.stop_s} s${unread.length ? `, in ${live.read_s} s of steps that were read out` : ""}; ${live.words}` : `${total} photons in ${read < span ? `${read} of ${span} s, the rest was not read out` : `${span} s`}; ${one.phase.reduce((a, b) => a + b, 0)} phases`;
  }

  function draw() { drawImage(); drawPixel(); }

  function select(x, y) {
    state.x = Math.min(Math.max(x, 0), columns - 1); state.y = Math.min(Math.max(y, 0), rows - 1); state.live = null;
    draw();
    if (data.live) askLive();
  }

  async function askLive() {
    const query = new URLSearchParams({ x: state.x, y: state.y, start: $("live-start").value, stop: $("live-stop").value, step: $("live-step").value });
    try {
      const answer = await fetch(`pixel?${query}`), found = await answer.json();
      if (!answer.ok) { $("pixel-status").textContent = found.problem; return; }
      state.live = found; drawPixel();
    } catch (error) { $("pixel-status").textContent = "the quick look is not served any more"; }
  }

  function save(name, blob) {
    const link = element("a", "", document.body, { download: name });
    link.href = URL.createObjectURL(blob); link.click(); link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  function saveText(name, lines) { save(name, new Blob([lines.join("\n") + "\n"], { type: "text/csv" })); $("saved").textContent = `saved ${name} with ${lines.length - 1} rows`; }

  for (const input of document.querySelectorAll("input[name=view]")) input.addEventListener("change", () => { state.view = input.value; drawImage(); });
  function window_(from, to) {
    state.from = Math.min(Math.max(from, 0), steps - 1); state.to = Math.min(Math.max(to, state.from + 1), steps);
    $("from").value = state.from; $("to").value = state.to - 1; draw();
  }
  $("from").max = $("to").max = steps - 1; $("from").value = 0; $("to").value = steps - 1;
  const typed = () => window_(parseInt($("from").value || "0", 10), parseInt($("to").value || "0", 10) + 1);
  $("from").addEventListener("change", typed); $("to").addEventListener("change", typed);
  function move(by) { const width = state.to - state.from === steps ? 1 : state.to - state.from; const start = state.to - state.from === steps ? (by > 0 ? 0 : steps - 1) : state.from + by * width; if (start < 0 || start >= steps) return; $("counts").checked = true; state.view = "counts"; window_(start, start + width); }
  $("previous").addEventListener("click", () => move(-1)); $("next").addEventListener("click", () => move(1));
  $("all").addEventListener("click", () => window_(0, steps));
  if (colours > 1) {
    for (let c = 0; c < colours - 1; c++) { element("option", `${data.edgesNm[c].toFixed(0)} nm`, $("wave-from"), { value: c }); element("option", `${data.edgesNm[c + 1].toFixed(0)} nm`, $("wave-to"), { value: c + 1 }); }
    element("option", "all photons", $("wave-to"), { value: colours }); $("wave-to").value = colours;
    const chosen = () => { const a = +$("wave-from").value, b = +$("wave-to").value; state.wave = [a, Math.max(b, a + 1)]; draw(); };
    $("wave-from").addEventListener("change", chosen); $("wave-to").addEventListener("change", chosen);
  } else $("wave").disabled = true;
  $("hot").addEventListener("change", () => { state.hot = $("hot").checked; drawImage(); });
  $("log").addEventListener("change", () => { state.log = $("log").checked; drawImage(); });
  $("image").addEventListener("click", (event) => {
    const box = $("image").getBoundingClientRect();
    select(Math.floor((event.clientX - box.left) / box.width * columns), rows - 1 - Math.floor((event.clientY - box.top) / box.height * rows));
  });
  $("image").addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (by) { event.preventDefault(); select(state.x + by[0], state.y + by[1]); }
  });
  $("save-picture").addEventListener("click", () => $("image").toBlob((blob) => { save("quicklook.png", blob); $("saved").textContent = "saved quicklook.png"; }));
  $("save-image").addEventListener("click", () => { const counts = viewCounts(); saveText("quicklook_image.csv", ["x,y,resonator,photons,flags,hot,seconds_read", ...range(pixels, (p) => `${p % columns},${Math.floor(p / columns)},${arrays.resid[p]},${counts[p]},${namesOf(arrays.flag[p]).join(" ")},${arrays.hot[p]},${readSeconds(p, ...inView())}`)]); });
  $("save-pixel").addEventListener("click", () => {
    const one = pixelData();
    saveText(`quicklook_x${state.x}_y${state.y}.csv`, ["what,place,value", `seconds_read,0,${readSeconds(one.p, 0, data.spanSeconds)}`, ...unreadOf(one.p).map(([a, b]) => `not_read_until_s,${a},${b}`), ...one.stream.map((v, k) => `stream_s,${k * data.streamSeconds},${v}`), ...one.histogram.map((v, k) => `bins_with_counts,${k * arrays.width[one.p]},${v}`), ...one.spectrum.map((v, k) => `spectrum_nm,${data.edgesNm[k]},${v}`), ...one.phase.map((v, k) => `phase_deg,${data.phaseLow + k * (data.phaseHigh - data.phaseLow) / phaseBins},${v}`)]);
  });
  if (data.live) { $("live").hidden = false; $("live-go").addEventListener("click", askLive); }

  const used = new Uint32Array(32); let good = 0;
  for (let p = 0; p < pixels; p++) { if (!flagOf(arrays.flag[p])) good++; for (let bit = 0; bit < 32; bit++) if ((arrays.flag[p] >>> bit) & 1) used[bit]++; }
  const legend = $("legend");
  const entry = (colour, name, about, count) => { const row = element("tr", null, legend), first = element("td", null, row); element("span", "", first, { class: "patch" }).style.background = colour; element("td", name, row); element("td", count, row, { class: "number" }); element("td", about, row); };
  entry("#e4e8ec", "good", "nothing is flagged but notes", good);
  const kindsOfFlags = { problem: "", flag: " (left in images)", note: " (a note: the pixel is not coloured)" };
  for (const flag of [...data.flags].sort((a, b) => (used[b.bit] > 0) - (used[a.bit] > 0))) entry(flag.kind === "note" ? "#e4e8ec" : flagColour(flag.bit), flag.name, flag.about + kindsOfFlags[flag.kind], used[flag.bit]);
  window.addEventListener("resize", draw);
  draw();
  document.body.dataset.ready = "yes";
})();
