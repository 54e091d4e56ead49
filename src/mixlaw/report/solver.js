// The best mixture, in the browser: minimise sum_t weight_t loss_t(r) over the simplex between floors and caps.
//
//   loss_t(r) = const_t + sum over atoms a of target t: scale_a phi(linear_a . r + offset_a)
//
// with phi one of exp(u), u^-exponent, log(u): mixlaw's Atoms. A log-barrier Newton method with exact second
// derivatives; where the function is convex the reported gap bounds how far the objective can still fall.
"use strict";
const mixlaw = (() => {
  const dot = (a, b) => { let s = 0; for (let i = 0; i < a.length; i++) s += a[i] * b[i]; return s; };
  const phi = (kind, u, p, order) => {
    if (kind === "exp") return Math.exp(u);
    if (u <= 0) return NaN;
    if (kind === "power") return order === 0 ? u ** -p : order === 1 ? -p * u ** (-p - 1) : p * (p + 1) * u ** (-p - 2);
    return order === 0 ? Math.log(u) : order === 1 ? 1 / u : -1 / (u * u);
  };

  /** Every target's loss at weights r. */
  const losses = (atoms, r) => {
    const out = atoms.const.slice();
    for (let a = 0; a < atoms.kind.length; a++) {
      const u = dot(atoms.linear[a], r) + atoms.offset[a];
      out[atoms.target[a]] += atoms.scale[a] * phi(atoms.kind[a], u, atoms.exponent[a], 0);
    }
    return out;
  };

  /** The objective's value, gradient and (on request) Hessian over the weights listed in `free`. */
  const objective = (atoms, weights, r, free, second) => {
    const n = free.length, g = new Float64Array(n);
    const H = second ? Array.from({ length: n }, () => new Float64Array(n)) : null;
    let f = dot(atoms.const, weights);
    for (let a = 0; a < atoms.kind.length; a++) {
      const w = weights[atoms.target[a]] * atoms.scale[a];
      if (w === 0) continue;
      const row = atoms.linear[a], u = dot(row, r) + atoms.offset[a], kind = atoms.kind[a], p = atoms.exponent[a];
      f += w * phi(kind, u, p, 0);
      if (!second) continue;
      const d1 = w * phi(kind, u, p, 1), d2 = w * phi(kind, u, p, 2);
      for (let i = 0; i < n; i++) {
        const li = row[free[i]];
        g[i] += d1 * li;
        const c = d2 * li;
        for (let j = 0; j <= i; j++) H[i][j] += c * row[free[j]];
      }
    }
    return { f, g, H };
  };

  /** Whether the weighted objective is convex: exp and power atoms need scale >= 0, log atoms scale <= 0. */
  const convex = (atoms, weights) => atoms.kind.every((kind, a) =>
    weights[atoms.target[a]] === 0 || (kind === "log" ? atoms.scale[a] <= 0 : atoms.scale[a] >= 0));

  /** Lower Cholesky factor of H + shift I, or null where that is not positive definite. */
  const cholesky = (H, shift) => {
    const n = H.length, L = Array.from({ length: n }, () => new Float64Array(n));
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) {
        let s = H[i][j] + (i === j ? shift : 0);
        for (let k = 0; k < j; k++) s -= L[i][k] * L[j][k];
        if (i === j) {
          if (!(s > 0)) return null;
          L[i][i] = Math.sqrt(s);
        } else L[i][j] = s / L[j][j];
      }
    }
    return L;
  };
  const solveCholesky = (L, b) => {
    const n = L.length, x = Float64Array.from(b);
    for (let i = 0; i < n; i++) { for (let k = 0; k < i; k++) x[i] -= L[i][k] * x[k]; x[i] /= L[i][i]; }
    for (let i = n - 1; i >= 0; i--) { for (let k = i + 1; k < n; k++) x[i] -= L[k][i] * x[k]; x[i] /= L[i][i]; }
    return x;
  };

  /**
   * Barrier method over x: minimise oracle(x) subject to low < x < high, rows . x < upper, equal . x constant.
   * `x` starts strictly inside; returns it with the multipliers of the bounds and rows.
   */
  const barrier = (oracle, x, low, high, rows, upper, equal, t, gap, stop) => {
    const n = x.length;
    let m = rows.length;
    for (let i = 0; i < n; i++) m += (isFinite(low[i]) ? 1 : 0) + (isFinite(high[i]) ? 1 : 0);
    const value = (y, t_) => {
      let s = 0;
      for (let i = 0; i < n; i++) {
        if (y[i] <= low[i] || y[i] >= high[i]) return Infinity;
        if (isFinite(low[i])) s -= Math.log(y[i] - low[i]);
        if (isFinite(high[i])) s -= Math.log(high[i] - y[i]);
      }
      for (let k = 0; k < rows.length; k++) {
        const slack = upper[k] - dot(rows[k], y);
        if (slack <= 0) return Infinity;
        s -= Math.log(slack);
      }
      const f = oracle(y, false).f;
      return Number.isFinite(f) ? t_ * f + s : Infinity;
    };
    let steps = 0;
    for (;;) {
      for (let inner = 0; inner < 60; inner++, steps++) {
        const { g, H } = oracle(x, true);
        const grad = new Float64Array(n);
        for (let i = 0; i < n; i++) {
          grad[i] = t * g[i];
          for (let j = 0; j <= i; j++) H[i][j] *= t;
          if (isFinite(low[i])) { const s = 1 / (x[i] - low[i]); grad[i] -= s; H[i][i] += s * s; }
          if (isFinite(high[i])) { const s = 1 / (high[i] - x[i]); grad[i] += s; H[i][i] += s * s; }
        }
        for (let k = 0; k < rows.length; k++) {
          const s = 1 / (upper[k] - dot(rows[k], x));
          for (let i = 0; i < n; i++) {
            grad[i] += s * rows[k][i];
            for (let j = 0; j <= i; j++) H[i][j] += s * s * rows[k][i] * rows[k][j];
          }
        }
        let shift = 0, L = cholesky(H, 0), size = 0;
        for (let i = 0; i < n; i++) size = Math.max(size, Math.abs(H[i][i]));
        while (!L && shift < 1e20) { shift = shift === 0 ? 1e-12 * size + 1e-300 : shift * 10; L = cholesky(H, shift); }
        const u = solveCholesky(L, grad), v = solveCholesky(L, equal);
        const ratio = dot(equal, u) / dot(equal, v);
        const d = new Float64Array(n);
        for (let i = 0; i < n; i++) d[i] = ratio * v[i] - u[i];
        const decrement = -dot(grad, d);
        if (!(decrement > 1e-9)) break;
        const before = value(x, t);
        let length = 1, moved = false;
        for (let halving = 0; halving < 60; halving++, length *= 0.5) {
          const y = x.map((xi, i) => xi + length * d[i]);
          if (value(y, t) <= before - 1e-4 * length * decrement) { x = y; moved = true; break; }
        }
        if (!moved || (stop && stop(x))) break;
      }
      if ((stop && stop(x)) || m / t <= gap) break;
      t *= 15;
    }
    return { x, t, steps, gap: m / t };
  };

  /** A point strictly inside, or {conflict} in words. */
  const inside = (low, high, rows, upper) => {
    const n = low.length;
    let sumLow = 0, sumHigh = 0;
    for (let i = 0; i < n; i++) { sumLow += low[i]; sumHigh += high[i]; }
    if (sumHigh < 1 - 1e-9) return { conflict: { kind: "caps", total: sumHigh } };
    if (sumLow > 1 + 1e-9) return { conflict: { kind: "floors", total: sumLow } };
    const share = (1 - sumLow) / (sumHigh - sumLow);
    let x = Float64Array.from(low, (l, i) => l + share * (high[i] - l));
    if (!rows.length || rows.every((row, k) => dot(row, x) < upper[k] - 1e-12)) return { x };
    // Phase one: let every row be exceeded by s, and make s negative.
    const worst = Math.max(...rows.map((row, k) => dot(row, x) - upper[k]));
    const oracle = (y, second) => {
      const g = new Float64Array(n + 1), H = second ? Array.from({ length: n + 1 }, () => new Float64Array(n + 1)) : null;
      g[n] = 1;
      return { f: y[n], g, H };
    };
    const wide = rows.map((row) => Float64Array.from([...row, -1]));
    const { x: y } = barrier(oracle, Float64Array.from([...x, worst + 1]), [...low, -10], [...high, Infinity], wide, upper,
      Float64Array.from([...low.map(() => 1), 0]), 1, 1e-9, (z) => z[n] < -1e-7);
    return y[n] < 0 ? { x: y.slice(0, n) } : { conflict: { kind: "rows" } };
  };

  /**
   * The best mixture.
   * problem: {atoms, weights (T), low (K), high (K), rows (M x K), upper (M)}
   * Returns {r, value, gap, certified, starts, steps, capPrice (K), floorPrice (K)} or {conflict}.
   */
  const solve = (problem) => {
    const { atoms, weights } = problem, K = problem.low.length;
    const low = problem.low.map((l, j) => Math.min(l, problem.high[j])), high = problem.high;
    const first = inside(low, high, problem.rows, problem.upper);
    if (first.conflict) return first;
    let sumLow = 0, sumHigh = 0;
    for (let j = 0; j < K; j++) { sumLow += low[j]; sumHigh += high[j]; }
    // Without room (caps sum to one, floors sum to one, or a floor at its cap) weights are fixed.
    let free = [];
    for (let j = 0; j < K; j++) if (high[j] - low[j] > 1e-9) free.push(j);
    if (sumHigh - 1 < 1e-9 || 1 - sumLow < 1e-9) free = [];
    const base = Array.from(first.x), isConvex = convex(atoms, weights);
    const done = (r, gap, starts, steps, prices) => ({
      r, value: dot(weights, losses(atoms, r)), gap, certified: isConvex, starts, steps, ...prices });
    const none = { capPrice: new Array(K).fill(0), floorPrice: new Array(K).fill(0) };
    if (free.length < 2) return done(base, 0, 1, 0, none);
    const fill = (x) => { const r = base.slice(); for (let i = 0; i < free.length; i++) r[free[i]] = x[i]; return r; };
    const oracle = (x, second) => objective(atoms, weights, fill(x), free, second);
    const part = (v) => Float64Array.from(free, (j) => v[j]);
    const rows = problem.rows.map(part);
    const upper = problem.upper.map((b, k) => b - dot(problem.rows[k], base) + dot(rows[k], part(base)));
    const ones = new Float64Array(free.length).fill(1);
    const run = (x, t) => barrier(oracle, x, part(low), part(high), rows, upper, ones, t, 1e-10);
    const starts = [part(base)];
    let seed = 1;
    const random = () => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed / 2147483648; };
    for (let k = 0; !isConvex && k < 11; k++) { // towards the corners, as far as the limits allow
      const corner = free.map((j) => low[j] + (high[j] - low[j]) * 0.98 * random() ** 3 + 1e-9);
      const total = corner.reduce((a, b) => a + b, 0), wanted = dot(ones, part(base));
      const room = corner.map((c, i) => total < wanted ? high[free[i]] - c : c - low[free[i]]);
      const sum = room.reduce((a, b) => a + b, 0);
      const x = Float64Array.from(corner, (c, i) => c + (wanted - total) * room[i] / sum);
      const ok = x.every((v, i) => v > low[free[i]] && v < high[free[i]]) && rows.every((row, m) => dot(row, x) < upper[m]);
      if (ok) starts.push(x);
    }
    let best = null, value = Infinity;
    for (const x of starts) {
      const found = run(x, isConvex ? 10 : 1e3), f = oracle(found.x, false).f;
      if (f < value) { best = found; value = f; }
    }
    const r = fill(best.x), prices = { capPrice: new Array(K).fill(0), floorPrice: new Array(K).fill(0) };
    free.forEach((j, i) => {
      prices.capPrice[j] = 1 / (best.t * (high[j] - best.x[i]));
      prices.floorPrice[j] = 1 / (best.t * (best.x[i] - low[j]));
    });
    return done(r, bound(problem, r, best.gap), starts.length, best.steps, prices);
  };

  /** How far the linearised objective can fall: a true bound where the objective is convex. */
  const bound = (problem, r, fallback) => {
    if (problem.rows.length) return fallback;
    const all = r.map((_, j) => j), { g } = objective(problem.atoms, problem.weights, r, all, true);
    const order = all.slice().sort((a, b) => g[a] - g[b]);
    let left = 1 - problem.low.reduce((a, b) => a + b, 0), fall = 0;
    for (let j = 0; j < r.length; j++) fall += g[j] * (r[j] - problem.low[j]);
    for (const j of order) {
      const take = Math.min(left, problem.high[j] - problem.low[j]);
      fall -= g[j] * take;
      left -= take;
    }
    return Math.max(fall, 0);
  };

  return { losses, solve, convex };
})();
