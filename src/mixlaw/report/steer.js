// Sliders to mixture: reads the problem from #data, solves at every change, and writes what moves.
"use strict";
const steer = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const percent = (x) => (x >= 0.0095 || x === 0 ? `${(100 * x).toFixed(0)}%` : x >= 0.0005 ? `${(100 * x).toFixed(1)}%` : "0%");
  const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(4);
  const count = (x) => {
    for (const [limit, suffix] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]])
      if (x >= limit) return (x / limit).toPrecision(3) + suffix;
    return x.toFixed(0);
  };
  const epochs = (j, weight) => weight * data.tokens / data.unique[j];
  const atReference = mixlaw.losses(data.atoms, data.reference);
  const state = { weights: data.weights.slice(), high: data.high.slice(), result: null };

  const make = (tag, css, text) => {
    const node = document.createElement(tag);
    if (css) node.className = css;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  const slider = (parent, id, name, value, change) => {
    const row = make("div", "control"), label = make("label", "", name), input = make("input"), out = make("output");
    input.type = "range"; input.id = id; input.min = "0"; input.max = "100"; input.step = "0.5";
    input.value = String(100 * value);
    label.htmlFor = id; out.htmlFor = id; out.id = `${id}-out`;
    input.addEventListener("input", () => { change(Number(input.value) / 100); schedule(); });
    row.append(label, out, input);
    parent.append(row);
  };

  const build = () => {
    data.targets.forEach((name, t) => slider($("weights"), `weight-${t}`, name, data.weights[t], (v) => { state.weights[t] = v; }));
    data.domains.forEach((name, j) => slider($("caps"), `cap-${j}`, name, data.high[j], (v) => {
      // The slider has steps of half a percent; the budget's own cap is kept exactly where the slider returns to it.
      state.high[j] = Math.abs(v - data.high[j]) < 0.0026 ? data.high[j] : v;
    }));
    $("reset").addEventListener("click", () => set(data.weights, data.high));
  };

  const set = (weights, high) => {
    state.weights = Array.from(weights);
    state.high = Array.from(high);
    state.weights.forEach((v, t) => { $(`weight-${t}`).value = String(100 * v); });
    state.high.forEach((v, j) => { $(`cap-${j}`).value = String(100 * v); });
    update();
  };

  const notes = () => {
    const total = state.weights.reduce((a, b) => a + b, 0);
    state.weights.forEach((v, t) => { $(`weight-${t}-out`).textContent = total > 0 ? percent(v / total) : "0%"; });
    state.high.forEach((v, j) => {
      const over = v > data.high[j] + 1e-9 ? ", over the budget" : "";
      $(`cap-${j}-out`).textContent = `${percent(v)} · ${epochs(j, v).toFixed(2)} epochs${over}`;
    });
    return total;
  };

  const update = () => {
    const total = notes();
    if (!(total > 0)) return refuse("Give at least one validation set a weight.");
    const weights = state.weights.map((w) => w / total);
    const problem = { atoms: data.atoms, weights, low: data.low, high: state.high, rows: data.rows, upper: data.upper };
    const began = performance.now(), result = mixlaw.solve(problem);
    const conflict = result.conflict;
    if (conflict) {
      if (conflict.kind === "caps") return refuse(`The caps add up to ${percent(conflict.total)}: they leave ${percent(1 - conflict.total)} of the tokens without a domain. Raise one.`);
      if (conflict.kind === "floors") return refuse(`The floors add up to ${percent(conflict.total)}, more than all tokens.`);
      return refuse(`No mixture satisfies these caps together with the budget's: ${data.labels.join("; ")}. Raise one.`);
    }
    const clash = data.low.findIndex((l, j) => l > state.high[j] + 1e-12);
    if (clash >= 0) return refuse(`${data.domains[clash]}: its floor ${percent(data.low[clash])} is above its cap ${percent(state.high[clash])}. Raise the cap.`);
    result.milliseconds = performance.now() - began;
    state.result = result;
    show(result, weights);
  };

  const refuse = (words) => {
    state.result = null;
    $("answer").textContent = "No mixture satisfies this.";
    $("how").textContent = words;
    $("result").hidden = true;
  };

  const describe = (r) => {
    const ranked = r.map((w, j) => [w, data.domains[j]]).filter(([w]) => w >= 0.0005).sort((a, b) => b[0] - a[0]);
    const head = ranked.slice(0, ranked.length > 5 ? 4 : 5).map(([w, d]) => `${percent(w)} ${d}`);
    if (ranked.length > 5) head.push(`${percent(ranked.slice(4).reduce((a, [w]) => a + w, 0))} from ${ranked.length - 4} others`);
    return head.length > 1 ? `${head.slice(0, -1).join(", ")} and ${head[head.length - 1]}` : head[0];
  };

  const bars = (parent, rows) => {
    parent.replaceChildren();
    for (const row of rows) {
      const line = make("div", "bar-row"), track = make("div", "track");
      line.append(make("span", "name", row.name), track, make("span", "value", row.text));
      for (const { css, left, width } of row.marks) {
        const mark = make("i", css);
        mark.style.left = `${100 * left}%`;
        if (width !== undefined) mark.style.width = `${100 * width}%`;
        track.append(mark);
      }
      parent.append(line);
    }
  };

  const show = (result, weights) => {
    $("result").hidden = false;
    const r = result.r, now = mixlaw.losses(data.atoms, r), change = now.map((v, t) => v - atReference[t]);
    const gain = change.reduce((s, d, t) => s + d * weights[t], 0);
    $("answer").textContent = `Train on ${describe(r)}.`;
    const how = result.certified ? `certified optimum (gap ${result.gap.toExponential(1)})` : `best of ${result.starts} starts, no certificate`;
    $("how").textContent = `Predicted objective ${result.value.toFixed(4)}, ${signed(gain)} against the ${data.referenceName} mixture; ${how}, found in ${result.milliseconds.toFixed(0)} ms.`;
    const widest = Math.max(...r, ...data.reference, 0.05);
    const order = r.map((_, j) => j).sort((a, b) => r[b] - r[a]);
    bars($("mixture"), order.map((j) => ({
      name: data.domains[j],
      text: r[j] < 0.0005 ? "0%" : `${percent(r[j])} · ${count(r[j] * data.tokens)} tokens · ${epochs(j, r[j]).toFixed(2)} epochs`,
      marks: [{ css: "fill", left: 0, width: r[j] / widest }, { css: "tick", left: data.reference[j] / widest }],
    })));
    const half = data.half || data.targets.map(() => 0);
    const reach = Math.max(...change.map((d, t) => Math.abs(d) + half[t]), 1e-6);
    bars($("moves"), change.map((d, t) => ({
      name: data.targets[t],
      text: `${signed(d)}${weights[t] > 0 ? ` · weight ${percent(weights[t])}` : ""}`,
      marks: [
        { css: "zero", left: 0.5 },
        { css: d <= 0 ? "fill better" : "fill worse", left: 0.5 + 0.5 * Math.min(d, 0) / reach, width: 0.5 * Math.abs(d) / reach },
        ...(data.half ? [{ css: "whisker", left: 0.5 + 0.5 * (d - half[t]) / reach, width: half[t] / reach }] : []),
      ],
    })));
    prices(result);
  };

  const prices = (result) => {
    const binding = result.capPrice.map((p, j) => [p, j]).filter(([p, j]) => state.high[j] < 1 && state.high[j] - result.r[j] < 1e-6 && p > 1e-6);
    binding.sort((a, b) => b[0] - a[0]);
    const list = $("prices");
    list.replaceChildren();
    for (const [p, j] of binding) {
      const more = p * data.unique[j] / data.tokens;
      list.append(make("li", "", `${data.domains[j]} is at its cap: one more percent of the tokens is worth ${(0.01 * p).toFixed(5)} of loss, one more epoch ${more.toFixed(5)}.`));
    }
    if (!binding.length) list.append(make("li", "", "No cap holds the mixture back."));
  };

  let waiting = false;
  const schedule = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; update(); });
  };

  build();
  update();
  return { state, set, data };
})();
