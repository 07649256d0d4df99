// What the room sees: no seats, but the clock against the sheet, progress, and what to watch for.

import { clock, follow, teller } from "./live.js";
import { fill, kept, labOf, make, sheetQuery, showJoin, showMistakes, showPace, used } from "./parts.js";

const LABS = 2; // the last ones that are in use
const get = (id) => document.getElementById(id);

function show(data) {
  get("title").textContent = data.title || "Class";
  document.title = data.title || "Class";
  showJoin(data);
  showPace(data.view.pace);
  showMistakes(data.view.mistakes, 1);
  const labs = [...used(data.view.finished)].sort().slice(-LABS);
  const { finished, seats, pace } = data.view;
  const counts = ({ id }) => labs.includes(labOf(id)) && (pace.due?.[id] || finished[id].passed + finished[id].trying);
  const shown = data.exercises.filter(counts);
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

document.documentElement.dataset.theme = kept.get("theme");
tick();
setInterval(tick, 1000);
const begin = follow(() => ({ ...sheetQuery(), projector: 1 }), show, teller());
addEventListener("storage", begin); // the board's page, in this browser, chose another sheet
