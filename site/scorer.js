// How the search orders pages that match alike: lessons first, and solutions, which give answers away, last.
var Scorer = {
  score: ([page, , , , score]) =>
    score + (page.startsWith("notebooks/") ? 3 : /^(solutions|teaching)\//.test(page) ? -3 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
