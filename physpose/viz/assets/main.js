"use strict";
// The contact timeline, and the start of everything.
PP.contacts = (() => {
  const { D, css, make, time } = PP;
  const card = document.getElementById("contact"), rows = card.querySelector(".rows");
  const tracks = [];
  // Darker where more of the foot's points touch.
  const paint = ({ canvas, group }) => {
    const ratio = Math.min(devicePixelRatio || 1, 2), T = time.length;
    const w = (canvas.width = Math.round(canvas.clientWidth * ratio)), h = (canvas.height = Math.round(canvas.clientHeight * ratio));
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, w, h);
    context.fillStyle = css(group.side || "c");
    for (let i = 0; i < T; i++) {
      const a = group.active.data[i];
      if (!(a > 0)) continue;
      const from = i ? (time[i - 1] + time[i]) / 2 : 0, to = i < T - 1 ? (time[i] + time[i + 1]) / 2 : PP.span || 1;
      const left = Math.floor((w * from) / (PP.span || 1)), right = Math.floor((w * to) / (PP.span || 1));
      context.globalAlpha = 0.35 + 0.65 * a;
      context.fillRect(left, 0, Math.max(right - left, 1), h);
    }
  };
  const start = () => {
    if (!D.contacts.length) { card.remove(); return; }
    for (const group of D.contacts) {
      const row = make("div", "row"), canvas = make("canvas");
      row.append(make("span", "", group.label), canvas);
      rows.append(row);
      tracks.push({ canvas, group });
    }
    const cursor = make("div", "now");
    rows.append(cursor);
    const span = () => [tracks[0].canvas.offsetLeft, tracks[0].canvas.clientWidth];
    PP.plots.drag(rows, (x) => ((x - span()[0]) / span()[1]) * PP.span);
    PP.player.onTime((t) => { const [left, width] = span(); cursor.style.transform = `translateX(${left + (width * t) / (PP.span || 1)}px)`; });
    const redo = () => { tracks.forEach(paint); PP.player.seek(PP.player.t); };
    new ResizeObserver(redo).observe(rows);
    PP.onTheme(redo);
  };
  return { start };
})();

// The plausibility strips: a cursor on each, and a press sets the time.
PP.plausibility = (() => {
  const start = () => {
    for (const track of document.querySelectorAll(".plausibility .track")) {
      const cursor = PP.make("div", "now");
      track.append(cursor);
      PP.plots.drag(track, (x) => (x / track.clientWidth) * PP.span);
      PP.player.onTime((t) => { cursor.style.left = `${(100 * t) / (PP.span || 1)}%`; });
    }
  };
  return { start };
})();

PP.overlay.start();
PP.scene.start();
PP.plots.start();
PP.contacts.start();
PP.plausibility.start();
PP.player.start();
