// Recursive Newton-Euler and its vector-Jacobian product for one block of samples. Read by engine_warp.py, which puts
// this text into a Warp function: compiled by Warp's Clang for the CPU, where one thread takes LANES samples in the lanes
// of a vector register, and by NVRTC for the GPU, where a thread takes one. REAL, LANES, CAPACITY
// (of links) and VJP are defined before, and the fields of `call` unpacked into sizes and pointers.
//
// Body frames; motions [v, w] and forces [f, n] at the link's origin. With u the cotangent of tau, read as a virtual
// velocity U that spreads down the tree as v does, sum(u tau) = sum over links of U . F. So the product needs, besides
// the two sweeps of the forward pass, U down and the cotangents of accelerations and velocities up; nothing is saved.
// Notation of a link: y' = X y_parent (before the joint's own motion), bar = cotangent.

#if defined(__CUDACC__) || LANES == 1
typedef REAL Lane;
#define GET(lane, k) lane
#define SET(lane, k, value) lane = value
#else
typedef REAL Lane __attribute__((ext_vector_type(LANES)));
#define GET(lane, k) lane[k]
#define SET(lane, k, value) lane[k] = value
#endif

struct Vec {
    Lane x, y, z;
    CUDA_CALLABLE Vec operator+(Vec o) const { return {x + o.x, y + o.y, z + o.z}; }
    CUDA_CALLABLE Vec operator-(Vec o) const { return {x - o.x, y - o.y, z - o.z}; }
    CUDA_CALLABLE Vec operator*(Lane s) const { return {x * s, y * s, z * s}; }
    CUDA_CALLABLE Lane dot(Vec o) const { return x * o.x + y * o.y + z * o.z; }
    CUDA_CALLABLE Vec cross(Vec o) const { return {y * o.z - z * o.y, z * o.x - x * o.z, x * o.y - y * o.x}; }
};
struct Mat {  // by columns
    Vec a, b, c;
    CUDA_CALLABLE Vec operator*(Vec v) const { return a * v.x + b * v.y + c * v.z; }
    CUDA_CALLABLE Vec unturn(Vec v) const { return {a.dot(v), b.dot(v), c.dot(v)}; }  // transposed
    CUDA_CALLABLE Mat operator*(Mat o) const { return {*this * o.a, *this * o.b, *this * o.c}; }
};
struct Inertia {  // mass, first moment m c, second moment about the link's origin
    Lane m;
    Vec h;
    Lane xx, xy, xz, yy, yz, zz;
    CUDA_CALLABLE Vec turn(Vec w) const {
        return {xx * w.x + xy * w.y + xz * w.z, xy * w.x + yy * w.y + yz * w.z, xz * w.x + yz * w.y + zz * w.z};
    }
    CUDA_CALLABLE Vec linear(Vec v, Vec w) const { return v * m + w.cross(h); }     // of I [v, w]
    CUDA_CALLABLE Vec angular(Vec v, Vec w) const { return turn(w) + h.cross(v); }
};
struct Link {  // what is kept of a link between the sweeps
    Mat R;     // R_parent_link
    Vec d;     // its origin in the parent
    Vec v, w, dv, dw;  // velocity, acceleration (gravity included)
    Vec f, n;          // wrench through the joint
#if VJP
    Vec uv, uw;            // virtual velocity
    Vec dv_bar, dw_bar, v_bar, w_bar;
#endif
    Mat R_world;
    Vec couple;  // cotangent of a turn of the link in a world-fixed external wrench
};
enum { FREE, BALL, HINGE, SLIDE, FIXED };
enum { P_A = 0, P_SIN = 9, P_COS = 18, P_T = 27, P_SLIDE = 30, P_AXIS = 33, P_INERTIA = 36, P_SIZE = 46 };

const int first_sample = block * LANES;
const auto splat = [](REAL s) { return Lane{} + s; };
const auto constant3 = [&](const REAL* p) { return Vec{splat(p[0]), splat(p[1]), splat(p[2])}; };
const auto constant9 = [&](const REAL* p) { return Mat{constant3(p), constant3(p + 3), constant3(p + 6)}; };
const auto load = [&](const REAL* array, int width, int column) {
    Lane out;
    for (int k = 0; k < LANES; ++k) {
        const int sample = first_sample + k < samples ? first_sample + k : samples - 1;
        SET(out, k, array[size_t(sample) * width + column]);
    }
    return out;
};
const auto load3 = [&](const REAL* array, int width, int column) {
    return Vec{load(array, width, column), load(array, width, column + 1), load(array, width, column + 2)};
};
const auto store = [&](REAL* array, int width, int column, Lane value) {
    for (int k = 0; k < LANES && first_sample + k < samples; ++k)
        array[size_t(first_sample + k) * width + column] = GET(value, k);
};
const auto store3 = [&](REAL* array, int width, int column, Vec value) {
    store(array, width, column, value.x);
    store(array, width, column + 1, value.y);
    store(array, width, column + 2, value.z);
};
const auto rounded = [&](Lane x) {  // to the nearest integer: at this size nothing after the point is left
    const Lane large = splat(sizeof(REAL) == 8 ? 6755399441055744.0 : 12582912.0);
    return (x + large) - large;
};
// sin and cos to rounding for angles up to 1e5: angle = k pi + r, |r| <= pi/2, pi in three parts, and the series in r.
const auto sin_cos = [&](Lane angle, Lane& s, Lane& c) {
    const bool wide = sizeof(REAL) == 8;
    const Lane k = rounded(angle * splat(0.3183098861837907));
    Lane r = angle - k * splat(wide ? 3.14159265346825122833 : 3.140625);
    r = r - k * splat(wide ? 1.21542010126079319532e-10 : 9.67502593994140625e-4);
    r = r - k * splat(wide ? 4.0445324974223329116e-21 : 1.509957990e-7);
    const Lane r2 = r * r, one = splat(1), odd = k - rounded(k * splat(0.5)) * splat(2);
    Lane sine = one, cosine = one;
    for (int n = wide ? 22 : 12; n >= 2; n -= 2) {  // Horner: 1 - r^2 / (n (n + 1)) (1 - ...)
        sine = one - r2 * sine * splat(1.0 / (n * (n + 1)));
        cosine = one - r2 * cosine * splat(1.0 / (n * (n - 1)));
    }
    const Lane sign = one - odd * odd * splat(2);
    s = r * sine * sign, c = cosine * sign;
};
struct Quat {
    Vec u;
    Lane w, inverse_length;
};
const auto load_quat = [&](int column) {
    Vec u = load3(q, nq, column);
    Lane w = load(q, nq, column + 3), inverse;
    const Lane squared = u.dot(u) + w * w;
    for (int k = 0; k < LANES; ++k) SET(inverse, k, 1 / sqrt(GET(squared, k)));
    return Quat{u * inverse, w * inverse, inverse};
};
const auto matrix = [&](Quat quat) {
    const Lane x = quat.u.x, y = quat.u.y, z = quat.u.z, w = quat.w, one = splat(1), two = splat(2);
    return Mat{{one - (y * y + z * z) * two, (x * y + w * z) * two, (x * z - w * y) * two},
               {(x * y - w * z) * two, one - (x * x + z * z) * two, (y * z + w * x) * two},
               {(x * z + w * y) * two, (y * z - w * x) * two, one - (x * x + y * y) * two}};
};
// The joint's own motion [linear, angular] for rates in the columns of an array.
const auto joint_motion = [&](int kind, const REAL* axis, const REAL* array, int column, Vec& linear, Vec& angular) {
    const Vec zero{};
    linear = zero, angular = zero;
    if (kind == HINGE) angular = constant3(axis) * load(array, nv, column);
    if (kind == SLIDE) linear = constant3(axis) * load(array, nv, column);
    if (kind == BALL) angular = load3(array, nv, column);
    if (kind == FREE) linear = load3(array, nv, column), angular = load3(array, nv, column + 3);
};
// S^T [f, n], to the columns of an array.
const auto project = [&](int kind, const REAL* axis, REAL* array, int column, Vec f, Vec n) {
    if (kind == HINGE) store(array, nv, column, constant3(axis).dot(n));
    if (kind == SLIDE) store(array, nv, column, constant3(axis).dot(f));
    if (kind == BALL) store3(array, nv, column, n);
    if (kind == FREE) store3(array, nv, column, f), store3(array, nv, column + 3, n);
};
const auto inertia_of = [&](const REAL* p) {
    return Inertia{splat(p[0]), constant3(p + 1), splat(p[4]), splat(p[5]), splat(p[6]), splat(p[7]), splat(p[8]), splat(p[9])};
};

Link links[CAPACITY];  // on the stack; on a GPU in local memory, which the hardware interleaves
const Vec zero{};
const Vec minus_g = zero - load3(gravity, gravity_width, 0);
Vec root_bar = zero;

for (int i = 0; i < n_links; ++i) {  // from the root outwards
    const int* row = table + 4 * i;
    const int kind = row[0], parent = row[1], iq = row[2], iv = row[3];
    const REAL* P = parameters + P_SIZE * i;
    const REAL* axis = P + P_AXIS;
    Link& link = links[i];

    // R = A + sin(q) B + cos(q) C of a hinge, A of the others, times a quaternion's
    link.R = constant9(P + P_A);
    link.d = constant3(P + P_T);
    if (kind == HINGE) {
        const Mat B = constant9(P + P_SIN), C = constant9(P + P_COS);
        Lane s, c;
        sin_cos(load(q, nq, iq), s, c);
        link.R = {link.R.a + B.a * s + C.a * c, link.R.b + B.b * s + C.b * c, link.R.c + B.c * s + C.c * c};
    }
    if (kind == SLIDE) link.d = link.d + constant3(P + P_SLIDE) * load(q, nq, iq);
    if (kind == FREE) link.d = link.d + link.R * load3(q, nq, iq);
    if (kind == FREE) link.R = link.R * matrix(load_quat(iq + 3));
    if (kind == BALL) link.R = link.R * matrix(load_quat(iq));
    const Mat R = link.R;
    const Vec d = link.d;

    Vec vJ, wJ, aJ, bJ, v = zero, w = zero, dv = R.unturn(minus_g), dw = zero;
    joint_motion(kind, axis, v_in, iv, vJ, wJ);
    joint_motion(kind, axis, a_in, iv, aJ, bJ);
    if (parent >= 0) {
        const Link& p = links[parent];
        v = R.unturn(p.v + p.w.cross(d)), w = R.unturn(p.w);
        dv = R.unturn(p.dv + p.dw.cross(d)), dw = R.unturn(p.dw);
    }
    // v = X v_p + S qd;  a = X a_p + S qdd + v x S qd
    v = v + vJ, w = w + wJ;
    dv = dv + aJ + w.cross(vJ) + v.cross(wJ), dw = dw + bJ + w.cross(wJ);
    link.v = v, link.w = w, link.dv = dv, link.dw = dw;

    // F = I a + v x* I v
    const Inertia I = inertia_of(P + P_INERTIA);
    const Vec pv = I.linear(v, w), pw = I.angular(v, w);
    link.f = I.linear(dv, dw) + w.cross(pv);
    link.n = I.angular(dv, dw) + w.cross(pw) + v.cross(pv);
#if VJP
    // U = X U_p + S u
    Vec uJ, oJ, uv = zero, uw = zero;
    joint_motion(kind, axis, u_in, iv, uJ, oJ);
    if (parent >= 0) {
        const Link& p = links[parent];
        uv = R.unturn(p.uv + p.uw.cross(d)), uw = R.unturn(p.uw);
    }
    uv = uv + uJ, uw = uw + oJ;
    link.uv = uv, link.uw = uw;
    // a_bar = I U
    link.dv_bar = I.linear(uv, uw), link.dw_bar = I.angular(uv, uw);
    // v_bar = I (U x v) - U x* I v
    const Vec yv = uw.cross(v) + uv.cross(w), yw = uw.cross(w);
    link.v_bar = I.linear(yv, yw) - uw.cross(pv);
    link.w_bar = I.angular(yv, yw) - uw.cross(pw) - uv.cross(pv);
#endif
    if (has_external) {
        link.R_world = parent >= 0 ? links[parent].R_world * R : R;
        const Vec e = link.R_world.unturn(load3(external, 6 * n_links, 6 * i));
        const Vec m = link.R_world.unturn(load3(external, 6 * n_links, 6 * i + 3));
        link.f = link.f - e, link.n = link.n - m;
#if VJP
        link.couple = zero - uv.cross(e) - uw.cross(m);
        store3(external_bar, 6 * n_links, 6 * i, zero - link.R_world * uv);
        store3(external_bar, 6 * n_links, 6 * i + 3, zero - link.R_world * uw);
#endif
    }
}

for (int i = n_links - 1; i >= 0; --i) {  // back to the root
    const int* row = table + 4 * i;
    const int kind = row[0], parent = row[1], iq = row[2], iv = row[3];
    const REAL* P = parameters + P_SIZE * i;
    const REAL* axis = P + P_AXIS;
    const Link& link = links[i];
    const Mat R = link.R;
    const Vec d = link.d;
    const Vec f = link.f, n = link.n;
    // tau = S^T F;  F_p += X^T F
    if (!VJP) project(kind, axis, tau, iv, f, n);
    const Vec f_up = R * f;
    Link& p = links[parent < 0 ? 0 : parent];
    if (parent >= 0) p.f = p.f + f_up, p.n = p.n + R * n + d.cross(f_up);
#if VJP
    Vec vJ, wJ, aJ, bJ, uJ, oJ;
    joint_motion(kind, axis, v_in, iv, vJ, wJ);
    joint_motion(kind, axis, a_in, iv, aJ, bJ);
    joint_motion(kind, axis, u_in, iv, uJ, oJ);
    const Vec v = link.v, w = link.w, av = link.dv_bar, aw = link.dw_bar;
    // v_bar += S qd x* a_bar
    const Vec vv = link.v_bar + wJ.cross(av), vw = link.w_bar + wJ.cross(aw) + vJ.cross(av);
    // qdd_bar = S^T a_bar;  qd_bar = S^T v_bar + a_bar . (v x S)
    project(kind, axis, a_bar, iv, av, aw);
    project(kind, axis, v_bar, iv, vv + av.cross(w), vw + av.cross(v) + aw.cross(w));
    // q_bar = sum of c . (y' x S) over cotangent c and transported motion y': (a_bar, a'), (v_bar, v'), (F, U')
    const Vec bv = link.dv - aJ - w.cross(vJ) - v.cross(wJ), bw = link.dw - bJ - w.cross(wJ);
    const Vec cv = v - vJ, cw = w - wJ, ev = link.uv - uJ, ew = link.uw - oJ;
    const Vec zf = av.cross(bw) + vv.cross(cw) + f.cross(ew);
    Vec zn = av.cross(bv) + aw.cross(bw) + vv.cross(cv) + vw.cross(cw) + f.cross(ev) + n.cross(ew);
    if (has_external) zn = zn + link.couple;
    if (kind == HINGE) store(q_bar, nq, iq, constant3(axis).dot(zn));
    if (kind == SLIDE) store(q_bar, nq, iq, constant3(axis).dot(zf));
    if (kind == BALL || kind == FREE) {
        // a turn dw moves the quaternion by quat (dw, 0) / 2: tangent to the sphere, quat_bar = 2 quat (w_bar, 0) / length
        const int column = kind == FREE ? iq + 3 : iq;
        const Quat quat = load_quat(column);
        const Lane scale = quat.inverse_length * splat(2);
        store3(q_bar, nq, column, (zn * quat.w + quat.u.cross(zn)) * scale);
        store(q_bar, nq, column + 3, splat(0) - quat.u.dot(zn) * scale);
        // the position moves along the axes of the joint's frame before the turn
        if (kind == FREE) store3(q_bar, nq, iq, matrix(quat) * zf);
    }
    const Vec av_up = R * av, vv_up = R * vv;
    if (parent >= 0) {
        p.dv_bar = p.dv_bar + av_up, p.dw_bar = p.dw_bar + R * aw + d.cross(av_up);
        p.v_bar = p.v_bar + vv_up, p.w_bar = p.w_bar + R * vw + d.cross(vv_up);
        if (has_external) p.couple = p.couple + R * link.couple;
    } else {
        root_bar = root_bar - av_up;
    }
    if (has_parameters) {
        // F is linear in mass, first and second moment; with a the classical acceleration a = dv + w x v:
        // f = m a + dw x h + w x (w x h), n = I dw + w x I w + h x a
        const Vec uv = link.uv, uw = link.uw, dw = link.dw, a = link.dv + w.cross(v), uxw = uw.cross(w);
        const int width = 13 * n_links, column = 13 * i;
        store(parameter_bar, width, column, uv.dot(a));
        store3(parameter_bar, width, column + 1, uv.cross(dw) + w.cross(w.cross(uv)) + a.cross(uw));
        store(parameter_bar, width, column + 4, uw.x * dw.x + uxw.x * w.x);
        store(parameter_bar, width, column + 5, uw.x * dw.y + uw.y * dw.x + uxw.x * w.y + uxw.y * w.x);
        store(parameter_bar, width, column + 6, uw.x * dw.z + uw.z * dw.x + uxw.x * w.z + uxw.z * w.x);
        store(parameter_bar, width, column + 7, uw.y * dw.y + uxw.y * w.y);
        store(parameter_bar, width, column + 8, uw.y * dw.z + uw.z * dw.y + uxw.y * w.z + uxw.z * w.y);
        store(parameter_bar, width, column + 9, uw.z * dw.z + uxw.z * w.z);
        // X y_p = R^T (y_v + y_w x d): d_bar = (R c) x y_w of each pair as above
        Vec d_bar = zero;
        if (parent >= 0) d_bar = av_up.cross(p.dw) + vv_up.cross(p.w) + f_up.cross(p.uw);
        store3(parameter_bar, width, column + 10, d_bar);
    }
#endif
}
#if VJP
store3(gravity_bar, 3, 0, root_bar);
#endif
