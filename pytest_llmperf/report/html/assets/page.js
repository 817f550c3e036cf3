"use strict";
// Draws the plots, and lets the reader choose among the gates. The page is whole without it.
(() => {
  const config = {
    aria: false, // the element around a plot says in words what it shows, and the table has its numbers
    background: "transparent",
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis: {
      labelColor: "var(--ink)", titleColor: "var(--ink)", domainColor: "var(--soft)", tickColor: "var(--soft)",
      gridColor: "var(--line)", labelLimit: 260, labelFontSize: 12, titleFontSize: 12,
    },
    legend: {
      labelColor: "var(--ink)", titleColor: "var(--ink)", orient: "top", labelFontSize: 12, labelLimit: 260,
      symbolOpacity: 1,
    },
  };

  // Vega-Lite says of every plot whose height follows its lines that it does not fit its height: that is what is wanted.
  const said = (how) => (...words) => { if (!/^Dropping "fit-y"/.test(words[0])) how(...words); };
  const logger = {
    level: () => logger, error: said(console.error), warn: said(console.warn), info: () => logger, debug: () => logger,
  };

  const draw = async (element, spec) => {
    try {
      const compiled = vegaLite.compile(spec, { config, logger }).spec;
      const bind = document.querySelector(`[data-bind="${element.dataset.plot}"]`);
      // Vega gives its container a role and a label of its own: ours stay outside.
      const container = element.appendChild(document.createElement("div"));
      container.setAttribute("aria-hidden", "true");
      const view = new vega.View(vega.parse(compiled), { renderer: "svg", container, bind, hover: true });
      await view.runAsync();
      element.dataset.drawn = "yes";
    } catch (error) {
      element.textContent = "This plot could not be drawn; its numbers are in the table.";
      console.error(error);
    }
  };

  const filter = (form) => {
    const rows = [...form.parentElement.querySelectorAll("table[data-filtered] tbody tr, :scope > .exchange")];
    const words = rows.map((row) => row.textContent.toLowerCase());
    const wanted = form.elements.state;
    const text = form.elements.text;
    const apply = () => {
      const sought = text.value.toLowerCase();
      let shown = 0;
      for (const [at, row] of rows.entries()) {
        const state = row.dataset.state;
        const fits = wanted.value.startsWith("!") ? state !== wanted.value.slice(1) : !wanted.value || state === wanted.value;
        row.hidden = !(fits && words[at].includes(sought));
        shown += row.hidden ? 0 : 1;
      }
      const told = `${shown} of ${rows.length} ${form.dataset.noun}`;
      form.querySelector("output").textContent = told;
      // What a filter hides stays off the paper as well, where nobody sees the filter.
      form.nextElementSibling.textContent = shown < rows.length ? `Printed with a filter: ${told}.` : "";
    };
    // A link can say which gates it means: page.html#show=FAIL
    const asked = /^#show=(.*)$/.exec(location.hash);
    if (asked && form.dataset.noun === "gates") wanted.value = decodeURIComponent(asked[1]);
    const all = form.elements.open;
    if (all) all.addEventListener("click", () => {
      const open = rows.some((row) => !row.hidden && !row.open);
      for (const row of rows) if (!row.hidden) row.open = open;
      all.textContent = open ? "Close all" : "Open all";
    });
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    apply();
  };

  document.querySelectorAll("form.filter").forEach(filter);
  const specs = JSON.parse(document.getElementById("plots").textContent);
  // One after the other with a pause between them: what is there already can be read and used meanwhile.
  (async () => {
    for (const element of document.querySelectorAll("[data-plot]")) {
      await draw(element, specs[Number(element.dataset.plot)]);
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  })();

  // A folded table cannot be read on paper; the fine print inside of cells would fill pages.
  const unfolded = [];
  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("details.table:not([open])")) {
      one.open = true;
      unfolded.push(one);
    }
  });
  addEventListener("afterprint", () => { for (const one of unfolded.splice(0)) one.open = false; });
})();
