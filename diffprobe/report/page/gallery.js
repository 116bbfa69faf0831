// The gallery: samples to filter, and one to look into.
(() => {
  const data = DATA.gallery;
  const sprite = find("sprite");
  const gallery = find("gallery");
  const [height, width] = data.image;
  const [rows, columns] = data.grid;
  const cell = [height / rows, width / columns];
  const PAGE = 60;
  const TITLES = {
    "valid-novel": "valid, novel",
    "valid-memorised": "valid, memorised",
    invalid: "invalid",
    illegible: "illegible",
  };
  const ORDERS = {
    "as sampled": () => 0,
    "least certain cell first": (a, b) => Math.min(...data.confidence[a]) - Math.min(...data.confidence[b]),
    "farthest from the language first": (a, b) => substitutions(b) - substitutions(a),
  };

  const everything = data.words.map((_, i) => i);
  const verdict = (i) => data.verdicts[data.verdict[i]];
  const legible = (i) => verdict(i) !== "illegible";
  const substitutions = (i) => (legible(i) ? data.distance[i] : -1);
  const spelled = (word) => word.map((s) => data.symbols[s]).join(" ");

  let chosen = { verdict: "", kind: "", order: "as sampled" };
  let visible = [];
  let drawn = 0;

  // ---- pictures ----

  function picture(i, top = 0, left = 0, tall = height, wide = width) {
    const canvas = make("canvas", { width: wide, height: tall, class: "pixels", "aria-hidden": "true" });
    const y = Math.floor(i / data.columns) * height + top;
    const x = (i % data.columns) * width + left;
    canvas.getContext("2d").drawImage(sprite, x, y, wide, tall, 0, 0, wide, tall);
    return canvas;
  }

  function marks(i) {
    const svg = draw("svg", { viewBox: `0 0 ${columns} ${rows}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const place = (c) => [c % columns, Math.floor(c / columns)];
    for (const c of data.wrong[i]) {
      const [x, y] = place(c);
      svg.append(draw("rect", { class: "wrong", x: x + 0.03, y: y + 0.03, width: 0.94, height: 0.94 }));
    }
    for (const c of data.unreadable[i]) {
      const [x, y] = place(c);
      svg.append(draw("path", { class: "unreadable", d: `M${x} ${y}l1 1M${x + 1} ${y}l-1 1` }));
    }
    return svg;
  }

  // ---- words ----

  function judged(i) {
    const kinds = data.violations[i].map((k) => data.kinds[k]).join(", ");
    return TITLES[verdict(i)] + (kinds ? `: ${kinds}` : "");
  }

  const unreadable = (i) => `cell${data.unreadable[i].length > 1 ? "s" : ""} ${data.unreadable[i].join(", ")}`;

  function described(i) {
    const parts = [`Sample ${grouped(i)}: ${judged(i)}.`, `Read ${spelled(data.words[i])}.`];
    if (!legible(i)) parts.push(`Unreadable: ${unreadable(i)}.`);
    else if (verdict(i) === "invalid") parts.push(`Nearest valid word ${spelled(data.nearest[i])}.`);
    return parts.join(" ");
  }

  // ---- one sample ----

  function inspect(i) {
    const cells = data.words[i].map((symbol, c) => {
      const crossed = data.unreadable[i].includes(c);
      const wrong = data.wrong[i].includes(c);
      const confidence = data.confidence[i][c];
      const top = Math.floor(c / columns) * cell[0];
      const left = (c % columns) * cell[1];
      const image = make("div", { class: "picture" }, picture(i, top, left, ...cell));
      if (crossed) image.append(draw("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" }, draw("path", { class: "unreadable", d: "M0 0l1 1M1 0l-1 1" })));
      const read = make("p", { class: "read" }, data.symbols[symbol]);
      if (crossed) read.append(make("span", { class: "soft" }, "?"));
      if (wrong) read.append(make("span", { class: "soft" }, " → "), data.symbols[data.nearest[i][c]]);
      const sure = make("p", { class: "sure" }, `${fixed(100 * confidence, confidence > 0.9995 ? 0 : 1)} %`);
      const kind = crossed ? "cell unreadable" : wrong ? "cell wrong" : "cell";
      return make("li", { class: kind }, image, read, sure);
    });
    const far = data.distance[i];
    const facts = make("dl", {});
    const fact = (name, ...value) => facts.append(make("dt", {}, name), make("dd", {}, ...value));
    fact("read", make("span", { class: "word" }, spelled(data.words[i])));
    if (!legible(i)) fact("unreadable", unreadable(i));
    else if (far) fact("nearest valid word", make("span", { class: "word" }, spelled(data.nearest[i])), ` (${far} substitution${far > 1 ? "s" : ""})`);
    const least = Math.min(...data.confidence[i]);
    if (least < 0.9995) fact("least certain", `cell ${data.confidence[i].indexOf(least)}, ${fixed(100 * least, 1)} %`);
    const list = make("ol", { class: rows === 1 && columns > 8 ? "cells strip" : "cells", "aria-label": "Cells: symbol read, and confidence" }, ...cells);
    list.style.setProperty("--columns", columns);
    find("inspector").replaceChildren(
      make("div", { class: "verdict" }, make("h3", {}, `Sample ${grouped(i)}`), make("p", { class: "tag" }, make("i", { class: `swatch ${verdict(i)}` }), judged(i)), facts),
      list,
    );
    for (const option of gallery.children) option.setAttribute("aria-selected", option.dataset.sample === String(i));
  }

  // ---- all samples ----

  function option(i) {
    const item = make(
      "div",
      { class: `sample ${verdict(i)}`, role: "option", tabindex: -1, "aria-selected": "false", "aria-label": described(i), "data-sample": i },
      picture(i),
      marks(i),
    );
    item.addEventListener("focus", () => {
      for (const other of gallery.children) other.tabIndex = other === item ? 0 : -1;
      inspect(i);
    });
    item.addEventListener("click", () => item.focus());
    return item;
  }

  function more() {
    const upto = Math.min(drawn + PAGE, visible.length);
    gallery.append(...visible.slice(drawn, upto).map(option));
    drawn = upto;
    const unseen = data.total > data.words.length ? ` (the first ${grouped(data.words.length)} of ${grouped(data.total)} are on this page)` : "";
    find("shown").textContent = visible.length
      ? `${grouped(drawn)} of ${grouped(visible.length)} samples shown${unseen}`
      : `No sample is like this${unseen}`;
    find("more").hidden = drawn === visible.length;
  }

  function show() {
    visible = everything
      .filter((i) => !chosen.verdict || verdict(i) === chosen.verdict)
      .filter((i) => !chosen.kind || data.violations[i].includes(Number(chosen.kind)))
      .sort(ORDERS[chosen.order]);
    gallery.replaceChildren();
    drawn = 0;
    more();
    if (!visible.length) return find("inspector").replaceChildren();
    gallery.firstChild.tabIndex = 0;
    inspect(visible[0]);
  }

  // Where keys scroll the page under a mouse at rest, the mouse has not chosen anything.
  gallery.addEventListener("pointermove", (event) => {
    const item = event.target.closest(".sample");
    const moved = event.pointerType === "mouse" && (event.movementX || event.movementY);
    if (item && moved && item.getAttribute("aria-selected") !== "true") inspect(Number(item.dataset.sample));
  });

  // ---- filters ----

  function choices(name, legend, options) {
    const chips = make("div", { class: "chips" });
    for (const [value, text, count] of options) {
      const input = make("input", { type: "radio", name, value, checked: value === "", disabled: !count });
      const swatch = name === "verdict" && value ? [make("i", { class: `swatch ${value}` })] : [];
      chips.append(make("label", { class: "chip" }, input, make("span", {}, ...swatch, text, make("b", {}, grouped(count)))));
    }
    return make("fieldset", {}, make("legend", {}, legend), chips);
  }

  const marking = make("input", { type: "checkbox", name: "marks", checked: true });
  const tally = (like) => everything.filter(like).length;
  const select = make("select", { name: "order" }, ...Object.keys(ORDERS).map((o) => make("option", {}, o)));
  const kinds = data.kinds
    .map((kind, k) => [String(k), kind, tally((i) => data.violations[i].includes(k))])
    .filter(([, , count]) => count)
    .sort((a, b) => b[2] - a[2]);
  find("filters").append(
    choices("verdict", "Verdict", [["", "all", everything.length], ...data.verdicts.map((v) => [v, TITLES[v], tally((i) => verdict(i) === v)])]),
    ...(kinds.length ? [choices("kind", "Violation", [["", "any or none", everything.length], ...kinds])] : []),
    make("label", { class: "order" }, "Order ", select),
    make("label", { class: "order" }, "Marks", make("span", {}, marking, "shown; point at a sample, or tap it, to see beneath them")),
  );
  marking.addEventListener("change", (event) => {
    event.stopPropagation(); // the same samples, differently shown
    find("samples").classList.toggle("unmarked", !marking.checked);
  });
  find("filters").addEventListener("change", () => {
    chosen = { ...chosen, ...Object.fromEntries(new FormData(find("filters"))) };
    show();
  });
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("more").addEventListener("click", () => {
    const first = drawn;
    more();
    gallery.children[first].focus();
  });

  rove(
    gallery,
    () => [...gallery.children],
    (from, key) => {
      const across = getComputedStyle(gallery).gridTemplateColumns.split(" ").length;
      const last = gallery.children.length - 1;
      const to = { ArrowLeft: from - 1, ArrowRight: from + 1, ArrowUp: from - across, ArrowDown: from + across, Home: 0, End: last }[key];
      return to >= 0 && to <= last ? to : null;
    },
    () => {},
  );

  // What would fill the window must not stay in it.
  find("inspector").classList.toggle("tall", rows > 2 || (rows === 1 && columns > 16));

  // As wide as its shape asks for: a strip of six cells 165 pixels, a square 84.
  const wide = Math.min(300, Math.max(72, 84 * Math.sqrt(width / height) * (width > 2 * height ? 0.8 : 1)));
  gallery.style.setProperty("--wide", `${Math.round(wide)}px`);
  sprite.decode().then(show);
})();
