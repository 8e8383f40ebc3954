"use strict";
// The body in three dimensions: solids with the segments' masses, contact forces, centre of mass, floor.
PP.scene = (() => {
  const { D, css } = PP;
  const frame = document.querySelector("#view3d .frame");
  const canvas = frame.querySelector("canvas");
  const n = D.positions.shape[1];
  const FORCE_LENGTH = 0.8; // [m] of an arrow of one body weight
  const UP = new THREE.Vector3(0, 0, 1);
  const colours = []; // [material, name of its colour]
  let renderer, camera, controls, scene, bodies, surface, arrows, com, shadow, floor, wanted = true, coarse = 1;

  const paint = (name, more = {}) => {
    const material = new THREE.MeshStandardMaterial({ roughness: 0.62, metalness: 0, ...more });
    colours.push([material, name]);
    return material;
  };

  // A tapered rod with round ends, or an ellipsoid, about the segment's axis, as wide and deep as its mass moments say.
  const profile = (s, length) => {
    const points = [], N = 14;
    if (s.kind === "ellipsoid") {
      for (let k = 0; k <= 2 * N; k++) {
        const a = (Math.PI * k) / (2 * N);
        points.push(new THREE.Vector2(s.radius[0] * Math.sin(a) + 1e-5, (length / 2) * (1 - Math.cos(a))));
      }
      return points;
    }
    const [r0, r1] = s.radius, cap = 0.45; // how far the round ends reach beyond the joints, in radii
    for (let k = 0; k <= N; k++) {
      const a = (Math.PI / 2) * (k / N);
      points.push(new THREE.Vector2(r0 * Math.sin(a) + 1e-5, r0 * cap * (1 - 2 * Math.cos(a)) ));
    }
    for (let k = 0; k <= N; k++) {
      const a = (Math.PI / 2) * (k / N);
      points.push(new THREE.Vector2(r1 * Math.cos(a) + 1e-5, length + r1 * cap * (2 * Math.sin(a) - 1)));
    }
    return points;
  };
  const solid = (s, material) => {
    const from = new THREE.Vector3(...s.from), along = new THREE.Vector3(...s.to).sub(from), length = along.length();
    along.normalize();
    const wide = new THREE.Vector3(...s.wide), deep = new THREE.Vector3().crossVectors(wide, along);
    const geometry = new THREE.LatheGeometry(profile(s, length), 36);
    const k = Math.sqrt(s.ratio); // the section's area stays
    geometry.applyMatrix4(new THREE.Matrix4().makeScale(k, 1, 1 / k));
    geometry.applyMatrix4(new THREE.Matrix4().makeBasis(wide, along, deep).setPosition(from));
    const mesh = new THREE.Mesh(geometry, material);
    mesh.castShadow = mesh.receiveShadow = true;
    return mesh;
  };
  const makeBodies = () => {
    const skin = { r: paint("skin-r"), l: paint("skin-l"), "": paint("skin") };
    const groups = [];
    D.skeleton.bodies.forEach((b) => groups.push({ group: new THREE.Group(), side: b.side }));
    if (D.skin) surface = makeSurface([skin[""], skin.r, skin.l]);
    else for (const s of D.skeleton.shapes) groups[s.body].group.add(solid(s, skin[groups[s.body].side]));
    for (const { group } of groups) scene.add(group);
    return groups;
  };
  const makeSurface = (materials) => {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array(D.skin.vertices.data.length), 3));
    geometry.setIndex(new THREE.BufferAttribute(D.skin.faces.data, 1));
    let first = 0;
    D.skin.groups.forEach((count, k) => { geometry.addGroup(3 * first, 3 * count, k); first += count; });
    const mesh = new THREE.Mesh(geometry, materials);
    mesh.castShadow = mesh.receiveShadow = true;
    mesh.frustumCulled = false;
    scene.add(mesh);
    return mesh;
  };
  const makeArrow = () => {
    const material = paint("force", { roughness: 0.4, depthTest: false, transparent: true, opacity: 0.92 }), group = new THREE.Group();
    const shaft = new THREE.Mesh(new THREE.CylinderGeometry(0.011, 0.011, 1, 16), material);
    const head = new THREE.Mesh(new THREE.ConeGeometry(0.03, 0.08, 20), material);
    shaft.renderOrder = head.renderOrder = 1; // seen through the leg
    group.add(shaft, head);
    scene.add(group);
    return { group, shaft, head };
  };
  const ground = () => {
    const lines = [], reach = 12;
    for (let k = -reach; k <= reach; k++) lines.push(k / 2, -reach / 2, 0, k / 2, reach / 2, 0, -reach / 2, k / 2, 0, reach / 2, k / 2, 0);
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.Float32BufferAttribute(lines, 3));
    const material = new THREE.LineBasicMaterial();
    colours.push([material, "grid"]);
    floor = new THREE.LineSegments(geometry, material);
    shadow = new THREE.Mesh(new THREE.PlaneGeometry(14, 14), new THREE.ShadowMaterial({ opacity: 0.2 }));
    shadow.position.z = 0.001;
    shadow.receiveShadow = true;
    scene.add(floor, shadow);
  };
  const path = () => {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(D.com.data.filter((_, i) => isFinite(D.com.data[i - (i % 3)])), 3));
    const material = new THREE.LineBasicMaterial({ transparent: true, opacity: 0.55 });
    colours.push([material, "com"]);
    const line = new THREE.Line(geometry, material);
    scene.add(line);
    return line;
  };
  const lights = () => {
    const sun = new THREE.DirectionalLight("#ffffff", 2.1);
    sun.castShadow = true;
    sun.shadow.mapSize.set(1024, 1024);
    sun.shadow.radius = 4;
    sun.shadow.normalBias = 0.02;
    sun.shadow.bias = -0.0006;
    Object.assign(sun.shadow.camera, { left: -1.8, right: 1.8, top: 1.8, bottom: -1.8, near: 0.5, far: 12 });
    scene.add(new THREE.HemisphereLight("#ffffff", "#aeb6c2", 1.75), sun, sun.target);
    return sun;
  };

  // Values of an array (T, ..., 3 or 4) between two frames.
  const at = (array, width, [i, j, s], row, out) => {
    const stride = array.data.length / array.shape[0], d = array.data;
    for (let k = 0; k < width; k++) {
      const a = d[i * stride + row * width + k], b = d[j * stride + row * width + k];
      out[k] = a + s * (b - a);
    }
    return out;
  };
  const buffer = [0, 0, 0, 0], q0 = new THREE.Quaternion(), q1 = new THREE.Quaternion();
  const poseBodies = (b) => {
    const Q = D.quaternions.data;
    bodies.forEach(({ group }, k) => {
      const [x, y, z] = at(D.positions, 3, b, k, buffer);
      group.visible = PP.show.body && isFinite(x);
      if (!group.visible) return;
      group.position.set(x, y, z);
      q0.fromArray(Q, 4 * (b[0] * n + k));
      group.quaternion.copy(q0.slerp(q1.fromArray(Q, 4 * (b[1] * n + k)), b[2]));
    });
  };
  // Linear blend skinning: v = sum_k w_k (R_k (v_0 - o_k) + p_k).
  const poseSurface = () => {
    surface.visible = bodies.every(({ group }) => group.visible);
    if (!surface.visible) return;
    const { vertices, scale, bodies: index, weights, origins } = D.skin, out = surface.geometry.attributes.position;
    const M = bodies.map(({ group }, k) => {
      group.updateMatrix();
      const e = group.matrix.elements, [x, y, z] = origins.data.subarray(3 * k, 3 * k + 3);
      const t = [0, 1, 2].map((r) => e[12 + r] - e[r] * x - e[4 + r] * y - e[8 + r] * z);
      return [e[0], e[4], e[8], t[0], e[1], e[5], e[9], t[1], e[2], e[6], e[10], t[2]];
    });
    const width = index.shape[1];
    for (let i = 0; i < index.shape[0]; i++) {
      const x = scale * vertices.data[3 * i], y = scale * vertices.data[3 * i + 1], z = scale * vertices.data[3 * i + 2];
      let X = 0, Y = 0, Z = 0, W = 0;
      for (let j = 0; j < width; j++) {
        const w = weights.data[width * i + j];
        if (!w) continue;
        const m = M[index.data[width * i + j]];
        W += w;
        X += w * (m[0] * x + m[1] * y + m[2] * z + m[3]);
        Y += w * (m[4] * x + m[5] * y + m[6] * z + m[7]);
        Z += w * (m[8] * x + m[9] * y + m[10] * z + m[11]);
      }
      out.array[3 * i] = X / W;
      out.array[3 * i + 1] = Y / W;
      out.array[3 * i + 2] = Z / W;
    }
    out.needsUpdate = true;
    surface.geometry.computeVertexNormals();
  };
  const poseArrows = (b) => {
    D.contacts.forEach((c, k) => {
      const { group, shaft, head } = arrows[k];
      const force = new THREE.Vector3(...at(c.force, 3, b, 0, buffer));
      const length = (force.length() / (D.weight || 9.81 * D.mass)) * FORCE_LENGTH;
      group.visible = PP.show.force && length > 0.02;
      if (!group.visible) return;
      group.position.set(...at(c.centre, 3, b, 0, buffer).slice(0, 3));
      group.quaternion.setFromUnitVectors(new THREE.Vector3(0, 1, 0), force.normalize());
      const tip = Math.min(0.08, length / 2);
      shaft.scale.y = length - tip;
      shaft.position.y = (length - tip) / 2;
      head.scale.setScalar(tip / 0.08);
      head.position.y = length - tip / 2;
    });
  };
  const target = new THREE.Vector3(), shift = new THREE.Vector3();
  const follow = (p) => {
    if (!p.every(isFinite)) return;
    target.set(p[0], p[1], p[2]);
    shift.subVectors(target, controls.target);
    shift.z = 0; // steps shall be seen as such
    controls.target.add(shift);
    camera.position.add(shift);
  };
  const draw = (t) => {
    const b = PP.bracket(t);
    poseBodies(b);
    if (surface) poseSurface();
    poseArrows(b);
    const c = at(D.com, 3, b, 0, buffer).slice(0, 3);
    com.ball.visible = com.line.visible = PP.show.com && isFinite(c[0]);
    com.ball.position.set(...c);
    if (PP.show.follow) follow(c);
    if (isFinite(c[0])) placeFloor(c);
    wanted = true;
  };
  // The grid moves with the person in whole squares, so that it seems without end.
  const placeFloor = (c) => {
    floor.position.set(Math.round(c[0] * 2) / 2, Math.round(c[1] * 2) / 2, 0);
    shadow.position.set(c[0], c[1], 0.001);
    com.sun.target.position.set(c[0], c[1], 0.8);
    com.sun.position.set(c[0] + 1.6, c[1] - 2.2, 5);
  };
  const recolour = () => {
    for (const [material, name] of colours) material.color.set(css(name));
    scene.background = new THREE.Color(css("floor"));
    scene.fog = new THREE.Fog(scene.background, 5, 9.5);
    wanted = true;
  };
  const resize = () => {
    const w = frame.clientWidth, h = frame.clientHeight;
    if (!w || !h) return;
    renderer.setPixelRatio(coarse * Math.min(devicePixelRatio || 1, 2));
    renderer.setSize(w, h, false);
    camera.aspect = w / h;
    camera.updateProjectionMatrix();
    renderer.render(scene, camera);
  };
  // How far the joints reach above and below one another at the most, or a surface at rest [m].
  const stature = () => {
    if (D.skin) {
      const y = D.skin.vertices.data.filter((_, k) => k % 3 === 1);
      return Math.min(Math.max(D.skin.scale * (y.reduce((a, b) => Math.max(a, b)) - y.reduce((a, b) => Math.min(a, b))), 0.4), 2.2);
    }
    let tallest = 0;
    for (let i = 0; i < D.positions.shape[0]; i++) {
      const z = Array.from({ length: n }, (_, b) => D.positions.data[3 * (i * n + b) + 2]).filter(isFinite);
      if (z.length) tallest = Math.max(tallest, Math.max(...z) - Math.min(...z));
    }
    return Math.min(Math.max(tallest, 0.4), 2.2);
  };
  // Seen from the front right, a little above; the person faces along the pelvis' forward axis.
  const look = () => {
    const i = PP.nearest(PP.span / 2), p = PP.onBody(i, 0, [0, 0, 0]), f = PP.onBody(i, 0, [1, 0, 0]);
    const yaw = Math.atan2(f[1] - p[1], f[0] - p[0]) - 0.95, c = D.com.data.slice(0, 3), tall = stature();
    const centre = c.every(isFinite) ? c : [0, 0, 0.6 * tall];
    controls.target.set(centre[0], centre[1], 0.6 * tall);
    const away = tall * Math.max(2.35, 2.2 / Math.min(camera.aspect, 1.25));
    camera.position.set(centre[0] + away * Math.cos(yaw || 0), centre[1] + away * Math.sin(yaw || 0), 1.05 * tall);
    controls.update();
  };
  // Without a graphics card: after a dozen slow pictures in a row, coarser and without shadows.
  let slow = 0, last = 0;
  const economize = (now) => {
    slow = now - last > 70 && now - last < 1000 ? slow + 1 : 0;
    last = now;
    if (slow !== 12 || !renderer.shadowMap.enabled) return;
    renderer.shadowMap.enabled = false;
    coarse = 0.6;
    scene.traverse((o) => { if (o.material) o.material.needsUpdate = true; });
    resize();
  };
  const loop = (now) => {
    if (wanted) { wanted = false; renderer.render(scene, camera); economize(now); }
    requestAnimationFrame(loop);
  };

  const start = () => {
    try {
      renderer = new THREE.WebGLRenderer({ canvas, antialias: true, preserveDrawingBuffer: true });
    } catch {
      frame.querySelector(".hint").remove();
      frame.append(PP.make("p", "blocked", "This browser has no WebGL, which the view in three dimensions needs."));
      return;
    }
    renderer.shadowMap.enabled = true;
    renderer.shadowMap.type = THREE.PCFShadowMap;
    scene = new THREE.Scene();
    camera = new THREE.PerspectiveCamera(34, 1.5, 0.05, 60);
    camera.up.copy(UP);
    controls = new THREE.OrbitControls(camera, canvas);
    controls.maxPolarAngle = 0.53 * Math.PI;
    controls.minDistance = 0.6;
    controls.maxDistance = 12;
    controls.addEventListener("change", () => { wanted = true; });
    ground();
    bodies = makeBodies();
    arrows = D.contacts.map(makeArrow);
    com = { ball: new THREE.Mesh(new THREE.SphereGeometry(0.03, 24, 16), paint("com", { depthTest: false, transparent: true })), line: path(), sun: lights() };
    com.ball.renderOrder = 2;
    scene.add(com.ball);
    recolour();
    PP.onTheme(() => { recolour(); renderer.render(scene, camera); });
    resize();
    look();
    new ResizeObserver(resize).observe(frame);
    PP.player.onTime(draw);
    requestAnimationFrame(loop);
  };
  return { start };
})();
