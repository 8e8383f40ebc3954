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
  let scale = 1;

  // Pinhole: pixel = f X / Z + centre
  const project = ([x, y, z]) => {
    const { R, t, focal, centre } = camera;
    const X = R[0] * x + R[1] * y + R[2] * z + t[0], Y = R[3] * x + R[4] * y + R[5] * z + t[1];
    const Z = R[6] * x + R[7] * y + R[8] * z + t[2];
    return Z > 0 ? [(focal * X) / Z + centre[0], (focal * Y) / Z + centre[1]] : [NaN, NaN];
  };
  const body = (i, b) => D.positions.data.subarray(3 * (i * D.positions.shape[1] + b)).slice(0, 3);
  const far = (i, shape) => PP.onBody(i, shape.body, shape.to);

  const line = (p, q, width, colour) => {
    if (!p.every(isFinite) || !q.every(isFinite)) return;
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.beginPath();
    context.moveTo(p[0] * scale, p[1] * scale);
    context.lineTo(q[0] * scale, q[1] * scale);
    context.stroke();
  };
  const disc = (p, radius, colour) => {
    if (!p.every(isFinite)) return;
    context.fillStyle = colour;
    context.beginPath();
    context.arc(p[0] * scale, p[1] * scale, radius, 0, 7);
    context.fill();
  };
  const drawSkeleton = (i, unit) => {
    const { bodies, bones, shapes } = D.skeleton;
    const joints = bodies.map((_, b) => project(body(i, b)));
    const lines = bones.map(([p, c]) => [joints[p], joints[c], bodies[c].side]);
    for (const s of shapes) if (s.kind === "ellipsoid") lines.push([joints[s.body], project(far(i, s)), bodies[s.body].side]);
    for (const [p, q] of lines) line(p, q, 4.4 * unit, "#0009");
    for (const [p, q, side] of lines) line(p, q, 2.6 * unit, COLOUR[side]);
    joints.forEach((p, b) => { disc(p, 3.1 * unit, "#0009"); disc(p, 2.2 * unit, COLOUR[bodies[b].side]); });
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
  const draw = (t) => {
    if (!size) return;
    const i = PP.nearest(t), unit = Math.max(1, canvas.width / 420);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.lineCap = "round";
    if (PP.show.skeleton && camera) drawSkeleton(i, unit);
    if (PP.show.points && D.keypoints) drawPoints(i, unit);
  };
  const resize = () => {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    canvas.width = Math.round(frame.clientWidth * ratio);
    canvas.height = Math.round(frame.clientHeight * ratio);
    scale = canvas.width / size[0];
    draw(PP.player.t);
  };
  const start = () => {
    if (!size) { view.remove(); return; }
    document.getElementById("stage").style.setProperty("--ratio", size[0] / size[1]);
    new ResizeObserver(resize).observe(frame);
    PP.player.onTime(draw);
  };
  return { start };
})();
