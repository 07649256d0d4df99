// What the board knows of one cell, in a dialog.

import { clock } from "./live.js";
import { duration, make, many, prose } from "./parts.js";

const OUTCOME = { passed: "✓ passed", wrong: "✗ wrong", blank: "○ blank", error: "! the check could not run" };

export function details(data, name, exercise) {
  const dialog = document.getElementById("details");
  const seat = data.seats.find((one) => one.seat === name);
  const about = data.exercises.find((one) => one.id === exercise);
  const cell = seat?.cells[exercise];
  const stuck = data.view.stuck.find((one) => one.seat === name && one.exercise === exercise);
  dialog.querySelector("h2").textContent = `${name}, ${exercise}`;
  const rows = [["Exercise", [about?.title ?? ""]]];
  if (!cell) rows.push(["State", ["not tried"]]);
  else {
    rows.push(["State", [OUTCOME[cell.state] + (stuck ? `, stuck for ${duration(stuck.for)}` : "")]]);
    rows.push(["Checks", [`${many(cell.tries, "try", "tries")}, ${cell.wrong} wrong`]]);
    rows.push(["First, last", [`${clock(cell.since, true)}, ${clock(cell.at, true)}`]]);
    rows.push(["Lab open for", [duration(cell.seconds * 1000)]]);
    const sentence = data.view.sentences[exercise]?.[cell.hint];
    if (sentence) rows.push(["They see", prose(sentence)]);
  }
  for (const [place, hint] of (about?.hints ?? []).entries()) rows.push([place ? "Then" : "Say", prose(hint)]);
  dialog.querySelector("dl").replaceChildren(...rows.flatMap(([term, said]) => [make("dt", {}, term), make("dd", {}, ...said)]));
  dialog.showModal();
}
