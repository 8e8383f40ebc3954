"use strict";
// A script that fails says so on the page.
addEventListener("error", (event) => {
  if (document.querySelector(".failed")) return;
  const notice = document.createElement("aside");
  notice.className = "notice warn failed";
  notice.textContent = `A part of this report failed: ${event.message}`;
  document.querySelector("main").prepend(notice);
});
// Report namespace, the decoded data, and small helpers.
const PP = (() => {
  const TYPES = { f32: Float32Array, i16: Int16Array, u16: Uint16Array, u8: Uint8Array };
  const unpack = (x, kind) => {
    const bytes = Uint8Array.from(atob(x[kind]), (c) => c.charCodeAt(0));
    return { shape: x.shape, data: new TYPES[kind](bytes.buffer) };
  };
  // Replace every packed array in the tree by its numbers.
  const decode = (x) => {
    if (Array.isArray(x)) return x.map(decode);
    if (!x || typeof x !== "object") return x;
    const kind = "shape" in x && Object.keys(TYPES).find((k) => k in x);
    if (kind) return unpack(x, kind);
    return Object.fromEntries(Object.entries(x).map(([k, v]) => [k, decode(v)]));
  };
  const D = decode(JSON.parse(document.getElementById("data").textContent));
  const start = D.time.data[0];
  const time = Array.from(D.time.data, (t) => t - start); // [s] from the first frame
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const make = (tag, className, text) => {
    const e = document.createElement(tag);
    if (className) e.className = className;
    if (text !== undefined) e.textContent = text;
    return e;
  };
  // Frame before t, the one after it, and how far t lies between them.
  const bracket = (t) => {
    let lo = 0, hi = time.length - 1;
    if (t <= time[0]) return [0, 0, 0];
    if (t >= time[hi]) return [hi, hi, 0];
    while (hi - lo > 1) { const m = (lo + hi) >> 1; if (time[m] <= t) lo = m; else hi = m; }
    return [lo, hi, (t - time[lo]) / (time[hi] - time[lo])];
  };
  const nearest = (t) => { const [i, j, s] = bracket(t); return s > 0.5 ? j : i; };
  // World position of a point fixed to body b, in frame i.
  const onBody = (i, b, [x, y, z]) => {
    const n = D.positions.shape[1], p = D.positions.data, q = D.quaternions.data;
    const [a, c, d, w] = q.subarray(4 * (i * n + b), 4 * (i * n + b) + 4), k = 3 * (i * n + b);
    const u = 2 * (c * z - d * y), v = 2 * (d * x - a * z), s = 2 * (a * y - c * x);
    return [p[k] + x + w * u + c * s - d * v, p[k + 1] + y + w * v + d * u - a * s, p[k + 2] + z + w * s + a * v - c * u];
  };
  const show = {}; // what the menu ticks
  return { D, time, start, span: time[time.length - 1], css, make, bracket, nearest, onBody, show };
})();
// All colours come from the style sheet; on paper it is the light one, whatever the screen shows.
PP.onTheme = (() => {
  const redos = [], redo = () => redos.forEach((f) => f());
  const paper = (on) => { document.documentElement.classList.toggle("paper", on); redo(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redo);
  addEventListener("beforeprint", () => paper(true));
  addEventListener("afterprint", () => paper(false));
  return (f) => redos.push(f);
})();
