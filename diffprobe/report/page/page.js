// What gallery.js and explorer.js share. Text enters the page as text, never as markup.

const DATA = JSON.parse(document.getElementById("data").textContent);
document.documentElement.classList.add("scripted");

const find = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const make = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const grouped = (n) => n.toLocaleString("en-GB");
const fixed = (x, digits) => x.toFixed(digits).replace("-", "−");
const signed = (x, digits) => (x < 0 ? "" : "+") + fixed(x, digits);

// An estimate in words; ± where its interval is symmetric, as `diffprobe.records.interval` has it.
function told(estimate, text = (x) => fixed(x, 3)) {
  const { value, low, high } = estimate;
  if (value === null) return "undefined";
  if (low === null) return `${text(value)} (no interval)`;
  const skew = Math.abs(high - value - (value - low));
  if (skew > Math.max(1e-3, 0.1 * (high - low)) + 1e-12) return `${text(value)} (${text(low)} to ${text(high)})`;
  return `${text(value)} ± ${fixed((high - low) / 2, 3)}`;
}

// One item of a group is in the tab order; arrow keys move on, as `next(index, key)` says.
function rove(group, items, next, choose) {
  group.addEventListener("keydown", (event) => {
    const from = items().indexOf(document.activeElement);
    const to = from < 0 ? null : next(from, event.key);
    if (to === null || to === undefined) return;
    event.preventDefault();
    items()[to].focus();
    choose(to);
  });
}

// Explanations open by pointer and by focus of themselves; by touch, and closed by Escape, here.
document.addEventListener("click", (event) => {
  const chosen = event.target.closest(".term");
  for (const term of document.querySelectorAll(".term")) {
    term.classList.toggle("open", term === chosen && !term.classList.contains("open"));
    term.classList.remove("closed");
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const term of document.querySelectorAll(".term:hover, .term:focus-within, .term.open")) {
    term.classList.remove("open");
    term.classList.add("closed");
  }
});
document.addEventListener("focusin", (event) => event.target.closest(".term")?.classList.remove("closed"));

// What is wider than its place says so, and can be reached by keys.
for (const box of document.querySelectorAll(".scroll")) {
  new ResizeObserver(() => {
    const wide = box.scrollWidth > box.clientWidth;
    box.parentElement.classList.toggle("sideways", wide);
    if (wide) fill(box, { tabindex: 0, role: "group", "aria-label": "Figure, to be moved sideways" }, []);
    else for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
  }).observe(box);
}
