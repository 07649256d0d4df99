// What the room sees: no seats, but the clock against the sheet, progress, and what to watch for.

import { clock, follow, teller } from "./live.js";
import { fill, forgetEarlier, kept, labOf, make, sheetQuery, showJoin, showMistakes, showPace, used } from "./parts.js";

const LABS = 2; // from the first one in use that the class has not done
const DONE = 0.9; // of the seats
const get = (id) => document.getElementById(id);

function show(data) {
  if (forgetEarlier(data.class)) {
    begin();
    return;
  }
  get("title").textContent = data.title || "Class";
  document.title = data.title || "Class";
  showJoin(data);
  showPace(data.view.pace);
  showMistakes(data.view.mistakes, 1, 0);
  const { finished, seats, pace } = data.view;
  const counts = ({ id }) => pace.due?.[id] || finished[id].passed + finished[id].trying > seats / 4;
  const left = (lab) => data.exercises.some((one) => labOf(one.id) === lab && pace.due?.[one.id] && finished[one.id].passed < seats * DONE);
  const labs = [...used(finished)].sort();
  const from = Math.min(Math.max(labs.findIndex(left), 0), Math.max(labs.length - LABS, 0));
  const those = labs.slice(from, from + LABS);
  const shown = data.exercises.filter((one) => those.includes(labOf(one.id)) && counts(one));
  fill(get("bars"), JSON.stringify([shown, shown.map(({ id }) => finished[id]), seats]), () => shown.map((one) => bar(one, finished[one.id], seats)));
}

function bar({ id, title }, { passed }, seats) {
  const filled = make("span");
  filled.style.width = `${(100 * passed) / Math.max(seats, 1)}%`;
  return make("li", {},
    make("span", { class: "name" }, make("b", {}, id), ` ${title}`),
    make("b", { class: "number" }, `${passed} of ${seats}`),
    make("span", { class: "track", "aria-hidden": "true" }, filled));
}

function tick() {
  get("clock").textContent = clock(Date.now());
}

function theme() {
  document.documentElement.dataset.theme = kept.get("theme");
}

theme();
tick();
setInterval(tick, 1000);
const begin = follow(() => ({ ...sheetQuery(), projector: 1 }), show, teller());
addEventListener("storage", () => { // the board's page, in this browser, chose another sheet or theme
  theme();
  begin();
});
