// The board's data as they come, and whether they still come.

const SILENCE_MS = 12000; // the board sends at least every 5 seconds
const RETRY_MS = 1000;
const ASK_MS = 5000; // of a tab that no one sees
const GONE = {
  401: "The board asks for the instructor’s key: open the address that “course class open” printed.",
  403: "The board asks for the instructor’s key: open the address that “course class open” printed.",
  410: "The class is closed.",
};

// Follow the board: a tab that no one sees asks now and then instead, since a browser keeps only
// six connections to one address, and a seventh tab would wait forever. `query` gives the words of the address; `show` gets each state of the board,
// `tell` gets {live, at, why}. Returns a function that begins again, after the query has changed.
export function follow(query, show, tell) {
  let source = null;
  let timer = 0;
  let last = null;
  let turn = 0; // what an earlier one still waits for is dropped

  const lost = (why) => {
    tell({ live: false, at: last, why });
  };

  const take = (data) => {
    last = new Date();
    show(data);
    tell({ live: true, at: last, why: "" });
  };

  const ask = async () => {
    const mine = turn;
    try {
      const reply = await fetch(`board.json?${new URLSearchParams(query())}`, { signal: AbortSignal.timeout(SILENCE_MS) });
      if (!reply.ok) throw new Error(reply.statusText);
      const data = await reply.json();
      if (mine !== turn) return;
      timer = setTimeout(ask, ASK_MS);
      take(data);
    } catch {
      if (mine === turn) again("The board doesn’t answer");
    }
  };

  const begin = () => {
    source?.close();
    clearTimeout(timer);
    turn += 1;
    if (document.hidden) {
      ask();
      return;
    }
    timer = setTimeout(() => again("The board is silent"), SILENCE_MS);
    source = new EventSource(`live?${new URLSearchParams(query())}`);
    source.onmessage = (event) => {
      clearTimeout(timer);
      timer = setTimeout(() => again("The board is silent"), SILENCE_MS);
      take(JSON.parse(event.data));
    };
    source.onerror = () => again("The board doesn’t answer");
  };

  const again = async (why) => {
    source?.close();
    clearTimeout(timer);
    timer = setTimeout(begin, RETRY_MS);
    let status = 0;
    try {
      const reply = await fetch("board.json?projector=1", { signal: AbortSignal.timeout(RETRY_MS) });
      status = reply.status;
      await reply.body?.cancel();
    } catch {
      // it is out of reach, which `why` says
    }
    lost(GONE[status] ?? why);
  };

  document.addEventListener("visibilitychange", begin);
  begin();
  return begin;
}

// Show the state in the page: each second's time by sight, a change of state by voice too.
export function teller() {
  const box = document.getElementById("live");
  const text = document.getElementById("live-text");
  let was = null;
  return ({ live, at, why }) => {
    box.className = live ? "on" : "off";
    box.firstElementChild.textContent = live ? "●" : "✗";
    document.body.classList.toggle("stale", !live);
    const time = at ? clock(at, true) : "";
    if (live) text.textContent = `Live, last update ${time}`;
    else text.textContent = `Connection lost. ${why}.${time ? ` Last update ${time}.` : ""}`.replace("..", ".");
    if (was !== null && was !== live) say(live ? "The board is live again." : text.textContent);
    was = live;
  };
}

// Say something to a screen reader.
export function say(words) {
  document.getElementById("said").textContent = words;
}

export function clock(when, seconds = false) {
  const parts = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (seconds) parts.second = "2-digit";
  return new Date(when).toLocaleTimeString("en-GB", parts);
}
