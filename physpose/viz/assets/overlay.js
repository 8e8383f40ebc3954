"use strict";
// The skeleton and the detector's points, drawn over the picture.
PP.overlay = (() => {
  const { D, time } = PP;
  const view = document.getElementById("view2d");
  const frame = view.querySelector(".frame");
  const canvas = frame.querySelector("canvas");
  const context = canvas.getContext("2d");
  const camera = D.camera;
  const size = camera ? camera.size : D.keypoints && D.keypoints.size;
  // On a picture or a black ground, whatever the page's theme.
  const COLOUR = { r: "#5b9bff", l: "#ff8b3d", "": "#f3f6fa" };
  const video = PP.player.hasVideo ? frame.querySelector("video") : null;
  let scale = 1, part = null; // part: what is shown of the picture [px]

  // Pinhole: pixel = f X / Z + centre
  const project = ([x, y, z]) => {
    const { R, t, focal, centre } = camera;
    const X = R[0] * x + R[1] * y + R[2] * z + t[0], Y = R[3] * x + R[4] * y + R[5] * z + t[1];
    const Z = R[6] * x + R[7] * y + R[8] * z + t[2];
    return Z > 0 ? [(focal * X) / Z + centre[0], (focal * Y) / Z + centre[1]] : [NaN, NaN];
  };
  const body = (i, b) => D.positions.data.subarray(3 * (i * D.positions.shape[1] + b)).slice(0, 3);

  const x = (p) => (p[0] - part.left) * scale;
  const y = (p) => (p[1] - part.top) * scale;
  const line = (p, q, width, colour) => {
    if (!p.every(isFinite) || !q.every(isFinite)) return;
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.beginPath();
    context.moveTo(x(p), y(p));
    context.lineTo(x(q), y(q));
    context.stroke();
  };
  const disc = (p, radius, colour) => {
    if (!p.every(isFinite)) return;
    context.fillStyle = colour;
    context.beginPath();
    context.arc(x(p), y(p), radius, 0, 7);
    context.fill();
  };
  const drawSkeleton = (i, unit) => {
    const { bodies, bones, joints } = D.skeleton;
    const lines = bones.map((b) => [project(PP.onBody(i, b.body, b.from)), project(PP.onBody(i, b.body, b.to)), b.side]);
    for (const [p, q] of lines) line(p, q, 4.4 * unit, "#0009");
    for (const [p, q, side] of lines) line(p, q, 2.6 * unit, COLOUR[side]);
    for (const b of joints) { disc(project(body(i, b)), 3.1 * unit, "#0009"); disc(project(body(i, b)), 2.2 * unit, COLOUR[bodies[b].side]); }
  };
  const drawPoints = (i, unit) => {
    const { uv, confidence } = D.keypoints, K = uv.shape[1];
    for (let k = 0; k < K; k++) {
      const c = confidence.data[i * K + k], p = [uv.data[2 * (i * K + k)], uv.data[2 * (i * K + k) + 1]];
      context.globalAlpha = 0.15 + 0.85 * Math.min(Math.max(c, 0), 1);
      disc(p, 2.2 * unit, "#000a");
      disc(p, 1.5 * unit, "#ffd43b");
    }
    context.globalAlpha = 1;
  };
  const FORCE_LENGTH = 0.8; // [m] of an arrow of one body weight, as in the other view
  const drawForces = (i, unit) => {
    for (const { force, centre } of D.contacts) {
      const f = force.data.subarray(3 * i, 3 * i + 3), c = centre.data.subarray(3 * i, 3 * i + 3);
      const k = FORCE_LENGTH / (D.weight || 9.81 * D.mass), length = k * Math.hypot(...f);
      if (!(length > 0.02)) continue;
      const p = project(c), q = project([c[0] + k * f[0], c[1] + k * f[1], c[2] + k * f[2]]);
      line(p, q, 4.4 * unit, "#0008");
      line(p, q, 2.6 * unit, "#ff4d73");
      const a = Math.atan2(q[1] - p[1], q[0] - p[0]), wing = (9 * unit) / scale;
      for (const turn of [2.6, -2.6]) line(q, [q[0] + wing * Math.cos(a + turn), q[1] + wing * Math.sin(a + turn)], 2.6 * unit, "#ff4d73");
    }
  };
  // Zoomed in: the person over half a second to either side, with some room, in the picture's own proportions.
  const aim = (t) => {
    if (!PP.show.zoom || !camera) return { left: 0, top: 0, width: size[0] };
    let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let i = PP.nearest(t - 0.5); i <= PP.nearest(t + 0.5); i++) {
      for (let b = 0; b < D.positions.shape[1]; b++) {
        const [u, v] = project(body(i, b));
        if (isFinite(u)) { x0 = Math.min(x0, u); x1 = Math.max(x1, u); y0 = Math.min(y0, v); y1 = Math.max(y1, v); }
      }
    }
    if (!(x1 > x0)) return { left: 0, top: 0, width: size[0] };
    const width = Math.min(size[0], 1.5 * Math.max(x1 - x0, ((y1 - y0) * size[0]) / size[1]));
    const height = (width * size[1]) / size[0], inside = (from, room) => Math.min(Math.max(from, 0), room);
    return { left: inside((x0 + x1 - width) / 2, size[0] - width), top: inside((y0 + y1 - height) / 2, size[1] - height), width };
  };
  const placeVideo = () => {
    const k = size[0] / part.width, css = frame.clientWidth / size[0];
    video.style.transform = `translate(${-part.left * k * css}px, ${-part.top * k * css}px) scale(${k})`;
  };
  const draw = (t) => {
    if (!size) return;
    const i = PP.nearest(t), unit = Math.max(1.25, canvas.width / 640);
    part = aim(t);
    scale = canvas.width / part.width;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (video) placeVideo();
    if (video && document.documentElement.classList.contains("paper")) // printers leave videos out
      context.drawImage(video, -part.left * scale, -part.top * scale, size[0] * scale, size[1] * scale);
    context.lineCap = "round";
    if (PP.show.skeleton && camera) drawSkeleton(i, unit);
    if (PP.show.force && camera) drawForces(i, unit);
    if (PP.show.points && D.keypoints) drawPoints(i, unit);
  };
  const resize = () => {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    canvas.width = Math.round(frame.clientWidth * ratio);
    canvas.height = Math.round(frame.clientHeight * ratio);
    draw(PP.player.t);
  };
  const start = () => {
    if (!size) { view.remove(); return; }
    document.getElementById("stage").style.setProperty("--ratio", size[0] / size[1]);
    new ResizeObserver(resize).observe(frame);
    PP.player.onTime(draw);
    PP.onTheme(() => draw(PP.player.t));
  };
  return { start };
})();
