"use strict";
// Search: shows the findings whose text has every word, and opens the folds that hold them.
const search = document.getElementById("search");
const found = document.getElementById("found");
document.getElementById("search-row").hidden = false;
search.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const fold of document.querySelectorAll("details.group")) {
    let here = 0;
    for (const row of fold.querySelectorAll("tr.finding")) {
      const hit = words.every((word) => row.textContent.toLowerCase().includes(word));
      row.hidden = !hit;
      here += hit;
    }
    fold.hidden = here === 0;
    fold.open = words.length === 0 ? false : here > 0;
    count += here;
  }
  found.textContent = words.length === 0 ? "" : count + " findings";
});
