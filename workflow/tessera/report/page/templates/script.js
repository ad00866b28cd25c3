(() => {
  "use strict";
  document.documentElement.classList.add("js");

  // Sorting: missing values stay below; the first column brings the study's own order back.
  for (const table of document.querySelectorAll("table.results")) {
    const body = table.tBodies[0];
    const order = [...body.rows];
    const heads = [...table.querySelectorAll("th[data-sort]")];
    for (const head of heads) {
      head.querySelector("button").addEventListener("click", () => {
        const index = Number(head.dataset.sort);
        const first = index === 0 ? "ascending" : "descending";
        const other = index === 0 ? "descending" : "ascending";
        const way = head.getAttribute("aria-sort") === first ? other : first;
        const sign = way === "ascending" ? 1 : -1;
        for (const each of heads) each.setAttribute("aria-sort", each === head ? way : "none");
        const value = (row) => (index === 0 ? order.indexOf(row) : parseFloat(row.cells[index].dataset.value));
        const rows = order.map((row) => [value(row), row]);
        rows.sort(([a], [b]) => (isNaN(a) || isNaN(b) ? isNaN(a) - isNaN(b) : sign * (a - b)));
        body.append(...rows.map(([, row]) => row));
      });
    }
  }

  const select = (text) => {
    const range = document.createRange();
    range.selectNodeContents(text);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  };
  for (const button of document.querySelectorAll(".copy button")) {
    button.addEventListener("click", async () => {
      const text = button.parentElement.querySelector("pre");
      let said = "Copied";
      try {
        await navigator.clipboard.writeText(text.textContent);
      } catch {
        select(text);
        said = "Selected";
      }
      button.textContent = said;
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }

  // What is wider than its place says at which edge there is more.
  const edges = new ResizeObserver((entries) => { for (const entry of entries) tell(entry.target); });
  const tell = (inner) => {
    const beyond = inner.scrollWidth - inner.clientWidth;
    inner.parentElement.classList.toggle("more", inner.scrollLeft < beyond - 2);
    inner.parentElement.classList.toggle("less", beyond > 2 && inner.scrollLeft > 2);
  };
  for (const inner of document.querySelectorAll(".pane > .scroll")) {
    inner.addEventListener("scroll", () => tell(inner), { passive: true });
    for (const image of inner.querySelectorAll("img")) image.addEventListener("load", () => tell(inner));
    edges.observe(inner);
  }

  // Where there is room beside the answer, no one has to ask what words mean.
  const words = document.getElementById("words");
  if (words) words.open = matchMedia("(min-width: 64rem)").matches;

  // A link to runs opens what they are folded into.
  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
