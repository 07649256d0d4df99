// Parts that the board and the projector view share.

import { clock } from "./live.js";

// An element with attributes and children; strings become text, never HTML.
export function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.flat());
  return made;
}

// A sentence whose parts between backquotes are code.
export function prose(sentence) {
  const parts = sentence.split("`");
  if (parts.length % 2 === 0) return [sentence];
  return parts.map((part, place) => (place % 2 ? make("code", {}, part) : part));
}

export function duration(ms) {
  const minutes = Math.floor(ms / 60000);
  if (minutes < 1) return "< 1 min";
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")}`;
}

export function many(number, one, more = `${one}s`) {
  return `${number} ${number === 1 ? one : more}`;
}

// Replace what an element holds, unless it would be the same.
export function fill(element, signature, build) {
  if (element.dataset.is === signature) return;
  element.dataset.is = signature;
  element.replaceChildren(...build());
}

// What was kept in this browser; one that keeps nothing remembers it as long as the page is open.
const remembered = new Map();
export const kept = {
  get(name) {
    try { return localStorage.getItem(`class ${name}`) ?? ""; } catch { return remembered.get(name) ?? ""; }
  },
  set(name, value) {
    try { localStorage.setItem(`class ${name}`, value); } catch { remembered.set(name, value); }
  },
};

// Forget the run-sheet of an earlier class; whether there was one.
export function forgetEarlier(id) {
  if (kept.get("id") === id) return false;
  const had = Boolean(kept.get("route") || kept.get("began"));
  for (const name of ["route", "began"]) kept.set(name, "");
  kept.set("id", id);
  return had;
}

// The words of the address that say what to compare the class with.
export function sheetQuery() {
  const query = {};
  if (kept.get("route")) query.route = kept.get("route");
  const began = beganAt(kept.get("began"));
  if (began) query.began = began;
  return query;
}

// The last moment at which the clock showed a time such as 09:30.
function beganAt(time) {
  const match = /^(\d\d):(\d\d)$/.exec(time);
  if (!match) return 0;
  const moment = new Date();
  moment.setHours(Number(match[1]), Number(match[2]), 0, 0);
  if (moment > new Date()) moment.setDate(moment.getDate() - 1);
  return moment.getTime();
}

export function showPace(pace) {
  const chip = document.getElementById("pace-chip");
  const { behind } = pace;
  const late = behind >= 5;
  if (behind === null || behind === undefined) chip.textContent = "○ Not begun";
  else if (behind > 0) chip.textContent = `« ${behind} min behind`;
  else if (behind < 0) chip.textContent = `» ${-behind} min ahead`;
  else chip.textContent = "✓ On time";
  chip.className = `chip ${behind == null ? "" : late ? "late" : "fine"}`;
  const spare = document.getElementById("pace-late");
  if (spare) {
    spare.hidden = !(behind > 0 && pace.now?.late);
    fill(spare, pace.now?.late ?? "", () => [make("b", {}, "To catch up: "), ...prose(plain(pace.now?.late ?? ""))]);
  }
  const at = (minute) => clock(pace.began + minute * 60000);
  fill(document.getElementById("pace-text"), JSON.stringify([pace.now, pace.class_at, pace.began]), () => {
    if (!pace.now) return [];
    const sheet = pace.now.title
      ? ["On the sheet now: ", make("b", {}, plain(pace.now.title)), `, until ${at(pace.now.until)}`, pace.now.next ? `; then ${lower(pace.now.next)}. ` : ". "]
      : [`The sheet ended at ${at(pace.now.until)}. `];
    if (!pace.class_at) return sheet;
    const due = at(pace.due[pace.class_at]);
    return [...sheet, "At least half of the class has done ", make("b", {}, pace.class_at), `, due at ${due}.`];
  });
}

function plain(title) {
  return title.replaceAll("*", "");
}

function lower(title) {
  title = plain(title);
  return title === "Break" ? "a break" : title.charAt(0).toLowerCase() + title.slice(1);
}

// The mistakes with their sentence and what to say: `most` hints of the exercise for the first one.
export function showMistakes(mistakes, most, others = 1) {
  fill(document.getElementById("mistakes"), JSON.stringify(mistakes), () => {
    if (!mistakes.length) return [make("li", { class: "none" }, "✓ No frequent mistake in the last 10 minutes.")];
    return mistakes.map((one, place) => make(
      "li", {},
      make("p", {},
        make("b", { class: "where" }, one.exercise), " ",
        ...(place ? [] : [one.title, " "]),
        ...(one.still ? [make("span", { class: one.still > 1 ? "chip bad" : "chip" }, `✗ ${many(one.still, "seat")} now`), " "] : []),
        make("span", { class: "quiet" }, `${many(one.recent, "time")} in 10 min`)),
      make("p", { class: "aloud" }, ...prose(one.sentence)),
      one.say.slice(0, place ? others : most).map((hint) => make("p", {}, make("b", {}, hint.endsWith("?") ? "Ask: " : "Say: "), ...prose(hint))),
    ));
  });
}

// The labs at which at least one seat has tried something.
export function used(finished) {
  const labs = new Set();
  for (const [exercise, { passed, trying }] of Object.entries(finished)) {
    if (passed + trying) labs.add(labOf(exercise));
  }
  return labs;
}

export function labOf(exercise) {
  return exercise.split(".")[0];
}

export function showJoin(data) {
  const empty = !data.view.seats && !data.view.left;
  document.getElementById("empty").hidden = !empty;
  document.body.classList.toggle("no-seats", empty);
  document.querySelector(".join").textContent = data.join ?? "";
  return empty;
}
