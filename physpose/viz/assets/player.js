"use strict";
// One clock for the video, the drawings and the plots: PP.player.t in seconds from the first frame.
PP.player = (() => {
  const video = document.querySelector("#view2d video");
  const encoded = document.getElementById("video-data").textContent.trim();
  const hasVideo = encoded.length > 0;
  const listeners = [];
  const $ = (id) => document.getElementById(id);
  const P = { t: 0, playing: false, speed: 1, hasVideo, onTime: (f) => listeners.push(f) };
  const ICON = {
    play: '<svg viewBox="0 0 24 24"><path d="M8 5v14l11-7z"/></svg>',
    pause: '<svg viewBox="0 0 24 24"><path d="M7 5h4v14H7zM13 5h4v14h-4z"/></svg>',
  };
  let last = 0;

  const emit = () => {
    $("slider").value = P.t;
    $("clock").innerHTML = "";
    $("clock").append((P.t + PP.start).toFixed(2), PP.make("span", "", ` / ${(PP.span + PP.start).toFixed(2)}`), " s");
    for (const f of listeners) f(P.t);
  };
  const set = (t) => { P.t = Math.min(Math.max(t, 0), PP.span); emit(); };
  // A video shows the frame that starts at or before its time: aim a little after the stamp.
  const place = () => { if (hasVideo) video.currentTime = Math.min(P.t + 0.002, video.duration || P.t); };
  P.seek = (t) => { set(t); place(); };
  P.step = (n) => { P.pause(); P.seek(PP.time[Math.min(Math.max(PP.nearest(P.t) + n, 0), PP.time.length - 1)]); };
  P.pause = () => { P.playing = false; if (hasVideo) video.pause(); $("play").innerHTML = ICON.play; };
  P.play = () => {
    if (PP.span <= 0) return;
    if (P.t >= PP.span - 1e-6) P.seek(0);
    P.playing = true;
    $("play").innerHTML = ICON.pause;
    if (hasVideo) { video.playbackRate = P.speed; video.play().catch(() => P.pause()); }
    last = performance.now();
    requestAnimationFrame(tick);
  };
  P.toggle = () => (P.playing ? P.pause() : P.play());
  P.setSpeed = (s) => { P.speed = s; $("speed").value = String(s); if (hasVideo) video.playbackRate = s; };

  const tick = (now) => {
    if (!P.playing) return;
    const t = hasVideo ? (P.mediaTime ?? video.currentTime) : P.t + (P.speed * (now - last)) / 1000;
    last = now;
    if (t >= PP.span || (hasVideo && video.ended)) {
      if (!PP.show.loop) { P.pause(); set(PP.span); return; }
      P.mediaTime = undefined;
      P.seek(0);
      if (hasVideo) video.play().catch(() => P.pause());
    } else if (t !== P.t) set(t);
    requestAnimationFrame(tick);
  };
  // The browser tells the time stamp of the very frame on screen.
  const watch = (_, frame) => {
    P.mediaTime = P.playing ? frame.mediaTime : undefined;
    video.requestVideoFrameCallback(watch);
  };

  P.start = () => {
    $("slider").max = PP.span || 1;
    if (hasVideo) {
      const bytes = Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
      video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
      if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(watch);
    } else video.remove();
    $("play").innerHTML = ICON.play;
    $("play").onclick = P.toggle;
    $("back").onclick = () => P.step(-1);
    $("forth").onclick = () => P.step(1);
    $("slider").oninput = (e) => { P.mediaTime = undefined; P.seek(Number(e.target.value)); };
    $("speed").onchange = (e) => P.setSpeed(Number(e.target.value));
    for (const box of document.querySelectorAll("[data-show]")) {
      PP.show[box.dataset.show] = box.checked;
      box.onchange = () => { PP.show[box.dataset.show] = box.checked; emit(); };
    }
    addEventListener("keydown", onKey);
    document.addEventListener("pointerdown", (e) => {
      const menu = document.querySelector(".menu");
      if (!menu.contains(e.target)) menu.open = false;
    });
    emit();
  };

  const faster = (way) => {
    const speeds = [...$("speed").options].map((o) => Number(o.value));
    P.setSpeed(speeds[Math.min(Math.max(speeds.indexOf(P.speed) + way, 0), speeds.length - 1)]);
  };
  const KEYS = {
    " ": P.toggle,
    ArrowLeft: (e) => P.step(e.shiftKey ? -10 : -1),
    ArrowRight: (e) => P.step(e.shiftKey ? 10 : 1),
    Home: () => P.seek(0),
    End: () => P.seek(PP.span),
    "[": () => faster(-1),
    "]": () => faster(1),
    f: () => document.querySelector('[data-show="follow"]').click(),
    z: () => document.querySelector('[data-show="zoom"]').click(),
  };
  const onKey = (e) => {
    const typing = e.target.matches("select, summary, button") && (e.key === " " || e.key === "Enter");
    if (!KEYS[e.key] || typing || e.ctrlKey || e.metaKey || e.altKey || e.target.tagName === "SELECT") return;
    e.preventDefault();
    KEYS[e.key](e);
  };
  return P;
})();
