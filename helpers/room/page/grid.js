// Seats × exercises: a table that changes only where the class did, moved in by arrow keys.

import { fill, labOf, make, many, used } from "./parts.js";

const SIGN = { passed: "✓", wrong: "✗", blank: "○", error: "!" };

const HOLD_MS = 15000;

export class Grid {
  // `details` is called with a seat and an exercise, on Enter or a click.
  constructor(region, held, details) {
    this.region = region;
    this.table = region.querySelector("table");
    this.held = held;
    this.rows = new Map();
    this.columns = "";
    this.touched = -Infinity;
    this.table.addEventListener("keydown", (event) => this.moved(event));
    this.table.addEventListener("click", (event) => {
      const cell = event.target.closest("td[data-exercise]");
      if (cell) details(cell.parentElement.dataset.seat, cell.dataset.exercise);
    });
    this.table.addEventListener("focusin", (event) => this.enter(event.target.closest("td, th")));
    for (const name of ["pointermove", "wheel", "keydown"]) {
      this.region.addEventListener(name, () => { this.touched = performance.now(); }, { passive: true });
    }
    this.table.addEventListener("animationend", (event) => event.target.classList.remove("fresh")); // it moves
    this.details = details;
  }

  show(data, stuck, { sort, lab }) {
    const { finished, seats, where } = data.view;
    const labs = used(finished);
    if (!labs.size) for (const { id } of data.exercises.slice(0, 2)) labs.add(labOf(id)); // what comes first
    const shown = data.exercises.filter(({ id }) => lab === "all" || (lab === "used" ? labs.has(labOf(id)) : labOf(id) === lab));
    const columns = JSON.stringify(shown.map((one) => [one.id, one.title, one.must]));
    if (columns !== this.columns) {
      this.columns = columns;
      this.rows.clear();
      this.table.tBodies[0].replaceChildren();
      this.heads(shown);
    }
    this.counts(shown, finished, seats);
    const present = new Map(data.seats.map((seat) => [seat.seat, seat]));
    for (const [name, row] of this.rows) {
      if (!present.has(name)) {
        row.remove();
        this.rows.delete(name);
      }
    }
    for (const seat of data.seats) this.row(seat, shown, stuck.get(seat.seat), where[seat.seat]);
    this.order(data.seats, stuck, where, sort);
    if (!this.table.querySelector("[tabindex='0']")) this.first()?.setAttribute("tabindex", "0");
  }

  heads(shown) {
    const labs = new Map();
    for (const { id } of shown) labs.set(labOf(id), (labs.get(labOf(id)) ?? 0) + 1);
    const top = make("tr", {},
      make("th", { scope: "col", rowspan: 2, class: "seat" }, "Seat"),
      make("th", { scope: "col", rowspan: 2, class: "sum" }, "Done"),
      [...labs].map(([lab, count]) => make("th", { scope: "colgroup", colspan: count, class: "lab" }, `Lab ${lab}`)));
    const names = make("tr", {}, shown.map((one, place) => make(
      "th",
      { scope: "col", class: edge(shown, place) + (one.must ? " must" : ""), title: `${one.title}${one.must ? " (must)" : ""}` },
      one.id,
      make("span", { class: "unseen" }, ` ${one.title}${one.must ? ", must" : ""}`),
    )));
    const counts = make("tr", { class: "counts" },
      make("th", { scope: "row", class: "seat" }, "Finished"),
      make("td", { class: "sum" }),
      shown.map((one, place) => make("td", { class: edge(shown, place), "data-count": one.id })));
    this.table.tHead.replaceChildren(top, names, counts);
  }

  counts(shown, finished, seats) {
    for (const cell of this.table.tHead.querySelectorAll("[data-count]")) {
      const { passed } = finished[cell.dataset.count];
      fill(cell, `${passed} ${seats}`, () => [make("b", {}, String(passed)), make("span", { class: "unseen" }, ` of ${seats}`)]);
      cell.classList.toggle("half", seats > 0 && passed * 2 >= seats);
    }
  }

  row(seat, shown, stuck, where) {
    let row = this.rows.get(seat.seat);
    if (!row) {
      row = make("tr", { "data-seat": seat.seat },
        make("th", { scope: "row", class: "seat", tabindex: "-1" }),
        make("td", { class: "sum", tabindex: "-1" }),
        shown.map((one, place) => make("td", { "data-exercise": one.id, "data-edge": edge(shown, place), tabindex: "-1" })));
      this.rows.set(seat.seat, row);
      this.table.tBodies[0].append(row);
    }
    const unsent = seat.waiting + seat.dropped;
    fill(row.cells[0], `${seat.left} ${Boolean(stuck)} ${seat.waiting} ${seat.dropped}`, () => [
      stuck ? make("span", { class: "mark", "aria-hidden": "true" }, "▲ ") : "",
      seat.seat,
      seat.left ? make("span", { class: "quiet" }, " left") : "",
      unsent ? make("span", { class: "quiet", title: lost(seat) }, ` ${lost(seat)}`) : "",
    ]);
    row.classList.toggle("left", seat.left);
    row.classList.toggle("stuck", Boolean(stuck));
    const done = where ? where.passed : Object.values(seat.cells).filter((cell) => cell.state === "passed").length;
    fill(row.cells[1], String(done), () => [String(done)]);
    shown.forEach((one, place) => this.cell(row.cells[place + 2], seat, one.id, stuck?.exercise === one.id));
  }

  cell(cell, seat, exercise, stuck) {
    const its = seat.cells[exercise];
    const signature = its ? `${its.state} ${its.tries} ${stuck}` : "none";
    if (cell.dataset.is === signature) return;
    const fresh = cell.dataset.is !== undefined;
    cell.dataset.is = signature;
    if (!its) {
      cell.className = cell.dataset.edge;
      cell.textContent = "";
      cell.setAttribute("aria-label", `${exercise}: not tried`);
      return;
    }
    const sign = stuck ? "▲" : SIGN[its.state];
    cell.textContent = its.tries > 1 ? `${sign}${its.tries}` : sign;
    cell.className = `${cell.dataset.edge} ${its.state}${stuck ? " stuck" : ""}${fresh ? " fresh" : ""}`;
    cell.setAttribute("aria-label", `${exercise}: ${its.state}${stuck ? ", stuck" : ""}, ${many(its.tries, "try", "tries")}`);
  }

  // Let the next order be seen at once.
  release() {
    this.touched = -Infinity;
  }

  // The order stays for a while when someone reads or moves in the table.
  order(seats, stuck, where, sort) {
    const body = this.table.tBodies[0];
    const wanted = sorted(seats, stuck, where, sort).map((name) => this.rows.get(name));
    const same = wanted.every((row, place) => body.rows[place] === row);
    const held = performance.now() - this.touched < HOLD_MS;
    this.held.hidden = same || !held;
    if (same || held) return;
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    body.append(...wanted);
    focused?.focus({ preventScroll: true });
  }

  first() {
    return this.table.tBodies[0].rows[0]?.cells[2] ?? null;
  }

  enter(cell) {
    if (!cell?.closest("tbody")) return;
    for (const other of this.table.querySelectorAll("[tabindex='0']")) other.setAttribute("tabindex", "-1");
    cell.setAttribute("tabindex", "0");
  }

  moved(event) {
    const cell = event.target.closest("tbody td, tbody th");
    if (!cell) return;
    const row = cell.parentElement;
    const rows = [...this.table.tBodies[0].rows];
    const [y, x] = [rows.indexOf(row), cell.cellIndex];
    const last = row.cells.length - 1;
    const page = Math.max(1, Math.floor(this.region.clientHeight / row.offsetHeight) - 4);
    const to = {
      ArrowUp: [y - 1, x], ArrowDown: [y + 1, x], ArrowLeft: [y, x - 1], ArrowRight: [y, x + 1],
      PageUp: [y - page, x], PageDown: [y + page, x],
      Home: [event.ctrlKey ? 0 : y, 0], End: [event.ctrlKey ? rows.length - 1 : y, last],
    }[event.key];
    if (to) {
      const clamp = (number, most) => Math.min(Math.max(number, 0), most);
      rows[clamp(to[0], rows.length - 1)].cells[clamp(to[1], last)].focus();
      event.preventDefault();
    } else if (event.key === "Enter" || event.key === " ") {
      if (cell.dataset.exercise) this.details(row.dataset.seat, cell.dataset.exercise);
      event.preventDefault();
    }
  }
}

function edge(shown, place) {
  return place === 0 || labOf(shown[place].id) !== labOf(shown[place - 1].id) ? "edge" : "";
}

function lost({ waiting, dropped }) {
  const parts = [];
  if (waiting) parts.push(`${waiting} to come`);
  if (dropped) parts.push(`${dropped} lost`);
  return parts.join(", ");
}

function sorted(seats, stuck, where, sort) {
  const passed = (name) => where[name]?.passed ?? -1;
  const names = seats.map((seat) => seat.seat);
  const bySeat = (a, b) => a.localeCompare(b, "en", { numeric: true });
  if (sort === "stuck") names.sort((a, b) => (stuck.get(b)?.for ?? -1) - (stuck.get(a)?.for ?? -1) || bySeat(a, b));
  else if (sort === "progress") names.sort((a, b) => passed(a) - passed(b) || bySeat(a, b));
  else names.sort(bySeat);
  return names;
}
