// The instructor's page: who is stuck, what to say, the pace, and seats × exercises.

import { clock, follow, say, teller } from "./live.js";
import { duration, fill, forgetEarlier, kept, labOf, make, many, prose, sheetQuery, showJoin, showMistakes, showPace } from "./parts.js";
import { Grid } from "./grid.js";
import { details } from "./details.js";

const CARDS = 6;
const SAY_EVERY_MS = 20000;
const get = (id) => document.getElementById(id);
let data = null;
let known = new Set();
let said = 0;

const grid = new Grid(get("seats"), get("held"), (seat, exercise) => details(data, seat, exercise));

function show(fresh) {
  if (forgetEarlier(fresh.class)) {
    begin();
    return;
  }
  data = fresh;
  const { view } = data;
  const stuck = new Map(view.stuck.map((one) => [one.seat, one]));
  get("title").textContent = data.title || "Class board";
  get("count").textContent = counted(view, data.closed);
  document.title = `${view.stuck.length ? `(${view.stuck.length}) ` : ""}${data.title || "Class board"}`;
  showJoin(data);
  showPace(view.pace);
  showRoutes(view.pace);
  showStuck(view.stuck, view.silent);
  showMistakes(view.mistakes, 2);
  showLabs();
  grid.show(data, stuck, { sort: get("sort").value, lab: get("lab").value });
  announce(stuck);
}

function counted({ seats, left, stuck }, closed) {
  const parts = seats || left ? [many(seats, "seat"), `${stuck.length} stuck`] : ["No seats yet"];
  if (closed) parts.unshift(`Closed at ${clock(closed)}`);
  if (left) parts.push(`${left} left`);
  return parts.join(" · ");
}

function showStuck(stuck, silent) {
  const first = stuck.slice(0, CARDS);
  const words = first.map((one) => [one.seat, one.exercise, one.state, one.hint, one.tries, duration(one.for), duration(one.quiet)]);
  fill(get("stuck"), JSON.stringify(words), () => {
    if (!first.length) return [make("li", { class: "none" }, "✓ No one is stuck.")];
    return first.map(card);
  });
  const more = [];
  if (stuck.length > CARDS) more.push(`And ${stuck.length - CARDS} more, first in the table.`);
  if (silent.length) more.push(`Silent for over 30 minutes: ${silent.join(", ")}.`);
  get("more-stuck").textContent = more.join(" ");
}

function card(one) {
  const button = make("button", { type: "button" },
    make("span", {},
      make("b", { class: "who" }, one.seat), " ",
      make("b", { class: "where" }, one.exercise), " ",
      make("span", { class: "chip bad" }, `▲ ${duration(one.for)}`)),
    make("span", { class: "what" }, `${many(one.tries, "try", "tries")}. `, ...prose(one.sentence || reason(one))));
  button.addEventListener("click", () => details(data, one.seat, one.exercise));
  return make("li", {}, button);
}

function reason({ state, title }) {
  if (state === "blank") return `Still blank: ${title}`;
  if (state === "error") return `The check could not run: ${title}`;
  return title;
}

function showRoutes({ routes, route, began }) {
  const select = get("route");
  fill(select, JSON.stringify(routes), () => routes.map((name) => make("option", {}, name)));
  if (document.activeElement !== select) select.value = route;
  if (document.activeElement !== get("began")) get("began").value = kept.get("began") || clock(began);
}

function showLabs() {
  const labs = [...new Set(data.exercises.map((one) => labOf(one.id)))];
  const select = get("lab");
  const chosen = select.value;
  fill(select, labs.join(), () => [
    make("option", { value: "used" }, "in use"),
    make("option", { value: "all" }, "all"),
    ...labs.map((lab) => make("option", { value: lab }, lab)),
  ]);
  select.value = chosen;
}

// Say who got stuck, seldom enough to be heard out.
function announce(stuck) {
  const now = Date.now();
  const fresh = [...stuck.values()].filter((one) => !known.has(`${one.seat} ${one.exercise}`));
  if (!fresh.length || now - said < SAY_EVERY_MS) return;
  if (fresh.length <= 3) say(`Stuck: ${fresh.map((one) => `${one.seat} on ${one.exercise}`).join(", ")}.`);
  else say(`${fresh.length} more seats are stuck, ${stuck.size} in all.`);
  known = new Set([...stuck.values()].map((one) => `${one.seat} ${one.exercise}`));
  said = now;
}

function theme() {
  document.documentElement.dataset.theme = get("theme").value;
}

for (const name of ["sort", "theme"]) {
  if (kept.get(name)) get(name).value = kept.get(name);
  get(name).addEventListener("change", () => { kept.set(name, get(name).value); });
}
get("theme").addEventListener("change", theme);
theme();
for (const name of ["sort", "lab"]) {
  get(name).addEventListener("change", () => {
    grid.release();
    if (data) show(data);
  });
}
get("sheet").addEventListener("submit", (event) => event.preventDefault());

const begin = follow(sheetQuery, show, teller());
for (const name of ["route", "began"]) {
  get(name).addEventListener("change", () => {
    kept.set(name, get(name).value);
    begin();
  });
}
