// The explorer: which cells an output listens to, network beside optimum, at any level and step.
(() => {
  const data = DATA.explorer;
  if (!data) return;
  const { boxes, names } = data.regions;
  const [height, width] = data.regions.image;
  const PANELS = ["network", "bayes"].filter((name) => name in data.parts);
  const MATRICES = Object.keys(data.parts);

  const state = { level: data.start, step: data.steps.length - 1, cell: 0 };

  const moment = (name, step = state.step) => data.parts[name].moments[data.parts[name].at[step]];
  const share = (name, to) => {
    const row = moment(name).shares[state.level][state.cell];
    return row ? (row[to] ?? 0) / data.whole : null;
  };
  const ratio = (estimate) => estimate.value === null ? "depends on nothing" : told(estimate);

  // ---- controls ----

  function slider(id, text, values, at, say) {
    const input = make("input", { type: "range", id, min: 0, max: values.length - 1, step: 1, value: at });
    const output = make("output", { for: id, id: `${id}-value` });
    input.addEventListener("input", () => {
      state[id] = Number(input.value);
      update();
    });
    const refresh = () => {
      output.textContent = say(state[id]);
      input.value = state[id];
      input.setAttribute("aria-valuetext", output.textContent);
    };
    return [make("div", { class: "slider" }, make("label", { for: id }, text), output, input), refresh];
  }

  const [levels, showLevel] = slider("level", "Noise level", data.t, state.level, (i) =>
    `log-SNR ${fixed(data.log_snr[i], 2)} nats, t = ${data.t[i]}`);
  const [steps, showStep] = slider("step", "Training step", data.steps, state.step, (i) =>
    `${grouped(data.steps[i])} of ${grouped(data.steps.at(-1))}`);
  levels.append(make("p", { class: "ends", "aria-hidden": "true" }, make("span", {}, "all noise"), make("span", {}, "clean")));
  find("controls").append(levels);
  if (data.steps.length > 1) find("controls").append(steps);

  // ---- an input at this level ----

  // Numbers that look random and are the same at every level: Lehmer's generator, Box and Muller.
  function noise(n) {
    let seed = 1;
    const uniform = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
    return Array.from({ length: n }, () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
  }

  function example() {
    const gallery = DATA.gallery;
    if (!gallery || gallery.image[0] !== height || gallery.image[1] !== width) return null;
    const canvas = make("canvas", { width, height, class: "pixels", role: "img", "aria-label": "A sample with noise of this level" });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const i = Math.max(0, gallery.verdict.findIndex((v) => v < 2));
    const x = (i % gallery.columns) * width;
    const y = Math.floor(i / gallery.columns) * height;
    const eps = noise(width * height);
    let clean = null;
    find("heats").append(make("figure", { class: "example" }, make("figcaption", {}, "an input at this level"), canvas));
    find("sprite").decode().then(() => {
      context.drawImage(find("sprite"), x, y, width, height, 0, 0, width, height);
      clean = context.getImageData(0, 0, width, height).data.slice();
      paint();
    });
    function paint() {
      if (!clean) return;
      const alpha = 1 / Math.sqrt(1 + Math.exp(-data.log_snr[state.level]));
      const sigma = Math.sqrt(1 - alpha * alpha);
      const image = context.createImageData(width, height);
      for (let p = 0; p < eps.length; p += 1) {
        const noisy = alpha * (1 - clean[4 * p] / 127.5) + sigma * eps[p];
        image.data.fill(127.5 * (1 - noisy), 4 * p, 4 * p + 3);
        image.data[4 * p + 3] = 255;
      }
      context.putImageData(image, 0, 0);
    }
    return paint;
  }

  // ---- heats ----

  // Between the page's card and the panel's own colour, with whichever text stands out from it.
  function shade(field, value) {
    const style = getComputedStyle(field);
    const [none, full] = ["--card", "--mine"].map((name) =>
      style.getPropertyValue(name).trim().match(/[0-9a-f]{2}/gi).map((pair) => parseInt(pair, 16)));
    const mixed = none.map((channel, i) => channel + value * (full[i] - channel));
    const linear = mixed.map((channel) => (channel / 255) ** 2.2);
    const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    return { background: `rgb(${mixed.map(Math.round).join(" ")})`, color: luminance > 0.18 ? "#000" : "#fff" };
  }

  function panel(name) {
    const field = make("div", { class: `heat ${name}`, role: "radiogroup", "aria-label": `${data.label[name]}: output cell` });
    field.style.aspectRatio = `${width} / ${height}`;
    const cells = boxes.map(([top, left, tall, wide], i) => {
      const cell = make("div", { class: "cell", role: "radio", tabindex: -1 }, make("span", {}));
      Object.assign(cell.style, {
        left: `${(100 * left) / width}%`,
        top: `${(100 * top) / height}%`,
        width: `${(100 * wide) / width}%`,
        height: `${(100 * tall) / height}%`,
      });
      cell.addEventListener("click", () => {
        choose(i);
        cell.focus();
      });
      return cell;
    });
    field.append(...cells);
    rove(field, () => cells, neighbour, choose);
    const own = make("p", { class: "soft own" });
    find("heats").append(make("figure", { class: "panel" }, make("figcaption", {}, make("i", { class: `line ${name}` }), data.label[name]), field, own));
    return () => {
      cells.forEach((cell, i) => {
        const value = share(name, i);
        const text = value === null ? "–" : value > 0 && value < 0.005 ? "<1" : fixed(100 * value, 0);
        cell.firstChild.textContent = text;
        Object.assign(cell.firstChild.style, shade(field, value ?? 0));
        cell.setAttribute("aria-checked", i === state.cell);
        cell.tabIndex = i === state.cell ? 0 : -1;
        cell.setAttribute("aria-label", `${names[i]}, ${value === null ? "no share" : `${fixed(100 * value, 1)} % of what ${names[state.cell]} depends on`}`);
      });
      const rest = share(name, boxes.length);
      own.textContent = share(name, state.cell) === null ? `${names[state.cell]} depends on nothing here` :
        rest > 0 ? `and ${fixed(100 * rest, 1)} % on the rest of the image` : "";
    };
  }

  function neighbour(from, key) {
    const direction = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[key];
    if (!direction) return { Home: 0, End: boxes.length - 1 }[key];
    const centre = ([top, left, tall, wide]) => [top + tall / 2, left + wide / 2];
    const [y, x] = centre(boxes[from]);
    let best = null;
    let least = Infinity;
    boxes.forEach((box, i) => {
      const [down, right] = [centre(box)[0] - y, centre(box)[1] - x];
      const ahead = down * direction[0] + right * direction[1];
      const aside = Math.abs(down * direction[1]) + Math.abs(right * direction[0]);
      if (ahead > 0 && ahead + 3 * aside < least) [best, least] = [i, ahead + 3 * aside];
    });
    return best;
  }

  function choose(cell) {
    state.cell = cell;
    update();
  }

  // ---- numbers ----

  function numbers() {
    const counted = () => {
      const n = moment("network").ldr[state.level].n, all = data.inputs[state.step][state.level];
      return n < all ? `${grouped(n)} of ${grouped(all)}` : grouped(all);
    };
    const own = (name) => {
      const value = share(name, state.cell);
      return value === null ? "depends on nothing" : fixed(value, 3);
    };
    const ldr = (name) => ratio(moment(name).ldr[state.level]);
    const row = (title, values) =>
      make("tr", {}, make("th", { scope: "row" }, title), ...values.map((v) => make("td", { class: "r" }, v)));
    const body = make("tbody", {},
      row("LDR, all cells", PANELS.map(ldr)),
      row(`own share of ${names[state.cell]}`, PANELS.map(own)));
    const excess = data.excess[state.step][state.level];
    if (PANELS.includes("bayes")) {
      const text = excess ? told(excess, (x) => signed(x, 3)) : "unknown";
      body.append(make("tr", { class: "excess" }, make("th", { scope: "row" }, "excess LDR"), make("td", { class: "r", id: "excess", colspan: PANELS.length }, text)));
    }
    find("numbers").replaceChildren(
      make("caption", {}, `${counted()} inputs; ± and brackets are 95 % intervals; without locality the LDR is ${fixed(data.no_locality, 3)}`),
      make("thead", {}, make("tr", {}, make("td", {}), ...PANELS.map((name) => make("th", { scope: "col", class: "r" }, data.label[name])))),
      body,
    );
  }

  // ---- curves ----

  const FRAME = { width: 440, left: 40, right: 12, top: 10, ldr: 150, gap: 36, excess: 70, foot: 38 };
  const span = [data.log_snr[0], data.log_snr.at(-1)];
  const across = (x) => FRAME.left + ((x - span[0]) / (span[1] - span[0] || 1)) * (FRAME.width - FRAME.left - FRAME.right);

  const point = (x, estimate) => [x, estimate?.value ?? null, estimate?.low, estimate?.high];

  function path(points, y) {
    // A value that is not defined breaks the line.
    return points.map(([x, value], i) => value === null ? "" : `${i && points[i - 1][1] !== null ? "L" : "M"}${across(x).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  }

  function band(points, y) {
    const known = points.filter(([, value]) => value !== null);
    if (!known.length) return "";
    // Where no interval is told the band has no width.
    const edge = (end, list) => list.map(([x, value, ...ends]) => `${across(x).toFixed(1)} ${y(ends[end] ?? value).toFixed(1)}`);
    return `M${[...edge(1, known), ...edge(0, [...known].reverse())].join("L")}Z`;
  }

  function axes(bottom, top, y, ticks, title) {
    const parts = [draw("text", { class: "title", x: FRAME.left, y: top - 1 }, title)];
    for (const tick of ticks) {
      parts.push(draw("line", { class: "grid", x1: FRAME.left, x2: FRAME.width - FRAME.right, y1: y(tick), y2: y(tick) }));
      parts.push(draw("text", { x: FRAME.left - 6, y: y(tick) + 4, "text-anchor": "end" }, fixed(tick, 1)));
    }
    return parts;
  }

  // Where curves stop, the widest range of levels at which no output depends on anything, and why.
  function gap(top, bottom) {
    const silent = data.log_snr.map((_, i) => !MATRICES.every((name) => moment(name).ldr[i].value !== null));
    const start = silent.lastIndexOf(false) + 1;
    if (start === 0 || start === silent.length) return [];
    const left = across((data.log_snr[start - 1] + data.log_snr[start]) / 2);
    const right = FRAME.width - FRAME.right;
    const who = PANELS.includes("bayes") && moment("bayes").ldr.at(-1).value === null ? "the optimum" : "an output";
    const text = draw("text", { "text-anchor": "middle", transform: `translate(${(left + right) / 2} ${(top + bottom) / 2}) rotate(-90)` }, `${who} depends on nothing here`);
    return [draw("rect", { class: "gap", x: left, width: right - left, y: top, height: bottom - top }), text];
  }

  // Lines that lie on each other look like one: the legend says which.
  function companion(name) {
    const close = (other) => data.log_snr.every((_, i) => {
      const [a, b] = [name, other].map((who) => moment(who).ldr[i].value);
      return a === null || b === null || Math.abs(a - b) < 0.01;
    });
    return MATRICES.slice(0, MATRICES.indexOf(name)).find(close);
  }

  function showLines() {
    const line = (name, text) => make("li", {}, make("i", { class: `line ${name}` }), text);
    const named = MATRICES.map((name) => {
      const other = companion(name);
      return line(name, data.label[name] + (other ? ` (= ${data.label[other]})` : ""));
    });
    find("lines").replaceChildren(...named, line("nolocality", "no locality"));
  }

  function curve() {
    const svg = find("curve");
    const withExcess = data.excess[state.step].some((e) => e && e.value !== null);
    const top = FRAME.top + 14;
    const y = (v) => top + FRAME.ldr * (1 - Math.min(1.02, v) / 1.02);
    const bottom = y(0);
    const second = bottom + FRAME.gap + 8;
    const values = data.excess[state.step].filter((e) => e && e.value !== null).map((e) => e.value);
    const high = Math.max(0.5, Math.ceil(10 * Math.max(0, ...values)) / 10);
    const low = Math.min(0, Math.floor(10 * Math.min(0, ...values)) / 10) - 0.05;
    const ye = (v) => second + FRAME.excess * (1 - (Math.min(high, Math.max(low, v)) - low) / (high - low));
    const end = withExcess ? second + FRAME.excess : bottom;
    const total = end + FRAME.foot;
    svg.setAttribute("viewBox", `0 0 ${FRAME.width} ${total}`);
    const points = (name) => data.log_snr.map((x, i) => point(x, moment(name).ldr[i]));
    const parts = axes(bottom, top - 8, y, [0, 0.5, 1], "LDR");
    parts.push(draw("line", { class: "nolocality", x1: FRAME.left, x2: FRAME.width - FRAME.right, y1: y(data.no_locality), y2: y(data.no_locality) }));
    for (const name of [...MATRICES].reverse()) {
      const under = companion(name) ? " under" : "";
      parts.push(draw("path", { class: `band ${name}`, d: band(points(name), y) }), draw("path", { class: `line ${name}${under}`, d: path(points(name), y) }));
    }
    if (withExcess) {
      const gap = data.log_snr.map((x, i) => point(x, data.excess[state.step][i]));
      parts.push(...axes(end, second - 6, ye, [0, 0.5].filter((v) => v <= high), "excess LDR, network − optimum"));
      parts.push(draw("path", { class: "band network", d: band(gap, ye) }), draw("path", { class: "line network", d: path(gap, ye) }));
    }
    const first = Math.ceil(span[0] / 5) * 5;
    for (let x = first; x <= span[1]; x += 5) {
      parts.push(draw("text", { x: across(x), y: end + 16, "text-anchor": "middle" }, fixed(x, 0)));
    }
    parts.push(draw("text", { x: (FRAME.left + FRAME.width - FRAME.right) / 2, y: end + 33, "text-anchor": "middle" }, "log-SNR (nats)"));
    parts.push(...gap(top, end));
    const now = across(data.log_snr[state.level]);
    parts.push(draw("line", { class: "now", x1: now, x2: now, y1: top - 4, y2: end }));
    for (const name of PANELS) {
      const { value } = moment(name).ldr[state.level];
      if (value !== null) parts.push(draw("circle", { class: name, cx: now, cy: y(value), r: 4 }));
    }
    svg.replaceChildren(...parts);
    svg.setAttribute("aria-label", `LDR against log-SNR; ${summary()}`);
  }

  function summary() {
    const level = `log-SNR ${fixed(data.log_snr[state.level], 2)}`;
    const said = PANELS.map((name) => `${data.label[name]} LDR ${ratio(moment(name).ldr[state.level])}`);
    const excess = data.excess[state.step][state.level];
    if (excess && excess.value !== null) said.push(`excess ${signed(excess.value, 3)}`);
    return `${level}, step ${grouped(data.steps[state.step])}: ${said.join(", ")}`;
  }

  find("curve").addEventListener("click", (event) => {
    const box = find("curve").getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * FRAME.width;
    const far = data.log_snr.map((value) => Math.abs(across(value) - x));
    state.level = far.indexOf(Math.min(...far));
    update();
  });

  // ---- all of it ----

  find("explorer").style.setProperty("--hue", `var(--${data.architecture})`);

  let speech = null;
  const refresh = [...PANELS.map(panel), numbers, curve, showLines, showLevel, showStep];
  const paint = example();
  if (paint) refresh.push(paint);

  function update() {
    for (const part of refresh) part();
    // Said once, when the slider rests.
    clearTimeout(speech);
    speech = setTimeout(() => (find("heard").textContent = summary()), 400);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
  for (const part of refresh) part();
})();
