"use strict";
// Curves against time, each with a cursor that follows the player; a press or drag on one sets the time.
PP.plots = (() => {
  const { D, css, make } = PP;
  const at = Array.from(D.time.data);
  const cards = []; // {card, area, plot, chart, cursor, values, perKg}

  // NaN is a gap.
  const numbers = (curve, perKg) => Array.from(curve.values.data, (v) => (isFinite(v) ? (perKg ? v / D.mass : v) : null));
  const digits = (v) => (Math.abs(v) >= 100 ? v.toFixed(0) : Math.abs(v) >= 10 ? v.toFixed(1) : v.toFixed(2));
  // One standard deviation to both sides of each curve.
  const bands = (entry) => (u) => {
    const { ctx } = u, scale = entry.perKg ? 1 / D.mass : 1;
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    entry.plot.curves.forEach((c, k) => {
      if (!c.sigma) return;
      ctx.fillStyle = css(c.key);
      ctx.globalAlpha = 0.16;
      for (const [from, to] of spans(entry.data[k + 1], c.sigma.data)) {
        const point = (i, side) => [u.valToPos(at[i], "x", true), u.valToPos(entry.data[k + 1][i] + side * scale * c.sigma.data[i], "y", true)];
        ctx.beginPath();
        for (let i = from; i < to; i++) ctx.lineTo(...point(i, 1));
        for (let i = to - 1; i >= from; i--) ctx.lineTo(...point(i, -1));
        ctx.fill();
      }
    });
    ctx.restore();
  };
  // Stretches [from, to) in which both are known.
  const spans = (values, sigma) => {
    const found = [];
    let from = -1;
    for (let i = 0; i <= values.length; i++) {
      const known = i < values.length && values[i] !== null && isFinite(sigma[i]);
      if (known && from < 0) from = i;
      if (!known && from >= 0) { found.push([from, i]); from = -1; }
    }
    return found;
  };
  const usualSigma = (entry) => {
    const sorted = entry.plot.curves.filter((c) => c.sigma).map((c) => Array.from(c.sigma.data).filter(isFinite).sort((a, b) => a - b));
    return Math.max(0, ...sorted.map((s) => (s.length ? s[s.length >> 1] : 0))) * (entry.perKg ? 1 / D.mass : 1);
  };
  const zeroLine = (u) => {
    const y = u.valToPos(0, "y", true);
    if (y < u.bbox.top || y > u.bbox.top + u.bbox.height) return;
    u.ctx.fillStyle = css("line");
    u.ctx.fillRect(u.bbox.left, y, u.bbox.width, devicePixelRatio || 1);
  };
  const options = (entry) => {
    const axis = { stroke: css("soft"), font: `11px ${css("font")}`, grid: { stroke: css("faint"), width: 1 }, ticks: { show: false } };
    return {
      width: Math.max(entry.area.clientWidth, 120),
      height: entry.area.clientHeight,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false }, y: { range: padded(entry) } },
      axes: [
        { ...axis, size: 22, gap: 2, space: 60, values: (_, ticks) => ticks.map((v) => `${+v.toFixed(2)} s`) },
        { ...axis, size: 44, gap: 4, space: 28 },
      ],
      series: [{}, ...entry.plot.curves.map((c) => ({ stroke: css(c.key), width: 1.7, points: { show: at.length < 3 } }))],
      hooks: { drawAxes: [zeroLine, bands(entry)] },
    };
  };
  // Room above and below, for a usual band too, and never a scale so fine that noise fills it.
  const padded = (entry) => (u, lo, hi) => {
    if (lo === null || !isFinite(lo)) return [-1, 1];
    const least = { deg: 4, "N.m": 2, N: 2, W: 2, J: 1 }[u.unit] ?? 0.05;
    const room = Math.max((hi - lo) * 0.08, (least - (hi - lo)) / 2, Math.min(usualSigma(entry), hi - lo), 1e-9);
    return [lo - room, hi + room];
  };

  const build = (entry) => {
    if (entry.chart) entry.chart.destroy();
    const data = [at, ...entry.plot.curves.map((c) => numbers(c, entry.perKg))];
    const settings = options(entry);
    entry.chart = new uPlot({ ...settings, hooks: { ...settings.hooks, init: [(u) => { u.unit = entry.perKg ? "" : entry.plot.unit; }] } }, data, entry.area);
    entry.data = data;
    entry.cursor = make("div", "now");
    entry.chart.over.append(entry.cursor);
    drag(entry.chart.over, (x) => entry.chart.posToVal(x, "x") - PP.start);
    mark(entry, PP.player.t);
  };
  const drag = (element, timeAt) => {
    const go = (e) => PP.player.seek(timeAt(e.clientX - element.getBoundingClientRect().left));
    element.style.cursor = "pointer";
    element.addEventListener("pointerdown", (e) => { PP.player.pause(); element.setPointerCapture(e.pointerId); go(e); });
    element.addEventListener("pointermove", (e) => { if (e.buttons & 1) go(e); });
  };
  const mark = (entry, t) => {
    if (!entry.chart) return;
    entry.cursor.style.transform = `translateX(${entry.chart.valToPos(t + PP.start, "x")}px)`;
    const i = PP.nearest(t);
    entry.values.forEach((b, k) => { const v = entry.data[k + 1][i]; b.textContent = v === null ? "–" : digits(v); });
  };
  const unit = (entry) => entry.plot.unit + (entry.perKg ? "/kg" : "");
  const show = (unit) => (unit === "deg" ? "°" : unit.replace("N.m", "N·m"));

  const makeCard = (plot, perKg) => {
    const card = make("div", "plot"), title = make("h3", "", plot.title), key = make("span", "key");
    const entry = { card, plot, perKg: false, wantsKg: perKg, area: make("div", "area"), values: [], visible: false };
    entry.unit = make("small", "", "");
    title.append(entry.unit);
    for (const c of plot.curves) {
      const value = make("b");
      key.append(make("i", c.key), c.label ? `${c.label} ` : "", value);
      entry.values.push(value);
    }
    card.append(title, key, entry.area);
    cards.push(entry);
    label(entry);
    return entry;
  };
  const label = (entry) => {
    entry.unit.textContent = [entry.plot.hint, show(unit(entry))].filter(Boolean).join(" · ");
  };
  const setKg = (entries, perKg) => {
    for (const e of entries) {
      if (!e.plot.perKg) continue;
      e.perKg = perKg;
      label(e);
      if (e.chart) build(e);
    }
  };
  const addSwitch = (section, entries) => {
    const units = entries.find((e) => e.plot.perKg).plot.unit, box = section.querySelector(".switch");
    const buttons = ["", "/kg"].map((suffix, k) => {
      const b = make("button", "", show(units) + suffix);
      b.setAttribute("aria-pressed", String(k === 0));
      b.onclick = () => {
        buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === b)));
        setKg(entries, k === 1);
      };
      return b;
    });
    box.append(...buttons);
  };

  // Charts are made when they come into view, or all at once for paper.
  const seen = new IntersectionObserver((changes) => {
    for (const change of changes) {
      const entry = cards.find((c) => c.card === change.target);
      entry.visible = change.isIntersecting;
      if (entry.visible && !entry.chart) build(entry);
      else if (entry.visible) mark(entry, PP.player.t);
    }
  }, { rootMargin: "200px" });
  const fit = (entry) => {
    if (entry.chart && entry.area.clientWidth) entry.chart.setSize({ width: entry.area.clientWidth, height: entry.area.clientHeight });
    mark(entry, PP.player.t);
  };
  const resized = new ResizeObserver((changes) => {
    for (const change of changes) fit(cards.find((c) => c.area === change.target));
  });
  // The rest is built in quiet moments, so that a picture or a print of the whole page is complete.
  const buildQuietly = () => {
    const next = cards.find((e) => !e.chart && e.area.clientWidth);
    if (!next) return;
    build(next);
    setTimeout(buildQuietly, 25);
  };

  const start = () => {
    for (const s of D.sections) {
      const section = document.getElementById(s.id), [grid, folded] = section.querySelectorAll(".grid");
      const entries = s.plots.map((p) => makeCard(p)), hidden = s.more.map((p) => makeCard(p));
      grid.append(...entries.map((e) => e.card));
      if (folded) folded.append(...hidden.map((e) => e.card));
      if ((s.id === "torques" || s.id === "power") && entries.length) addSwitch(section, [...entries, ...hidden]);
    }
    for (const e of cards) { seen.observe(e.card); resized.observe(e.area); }
    PP.player.onTime((t) => { for (const e of cards) if (e.visible) mark(e, t); });
    PP.onTheme(() => cards.forEach((e) => { if (e.area.clientWidth) build(e); }));
    setTimeout(buildQuietly, 25);
  };
  return { start, drag };
})();
