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

  const narrow = matchMedia("(max-width: 699px)").matches;
  if (narrow) {
    // Names of gates would leave a phone no room for a plot: they stand above their lines.
    config.axisYDiscrete = {
      labelAlign: "left", labelBaseline: "bottom", labelOffset: -6, labelPadding: 0, labelLimit: 330, ticks: false,
      domain: false,
    };
  }

  // A plot in a closed fold has no room to measure: it gets what the page has for it.
  const fitted = (element, spec) => {
    const layered = spec.encoding && spec.encoding.y;
    const named = narrow && layered && layered.type === "nominal" && typeof spec.height === "number";
    const tall = named ? { ...spec, height: spec.height * 1.7 } : spec;
    if (element.clientWidth) return tall;
    const room = document.querySelector("main").clientWidth;
    const columns = element.closest(".wide") ? 1 : Math.max(1, Math.floor((room + 16) / 496));
    return { ...tall, width: Math.floor(room / columns) - 16 };
  };

  const draw = async (element, whole) => {
    const spec = fitted(element, whole);
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
    if (asked && form.dataset.noun === "gates") {
      wanted.value = decodeURIComponent(asked[1]);
      form.closest("section").scrollIntoView();
    }
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

  const sizes = { "%": 0.01, pts: 0.01, ms: 1e-3, "µs": 1e-6, GB: 1e9, MB: 1e6, kB: 1e3 };
  const worth = (cell) => {
    const found = /^[×+]?([−-]?[\d,.]+(?:e-?\d+)?)\s*(\S*)/.exec(cell.textContent.trim());
    return found ? Number(found[1].replaceAll(",", "").replace("−", "-")) * (sizes[found[2]] || 1) : -Infinity;
  };
  const verdicts = ["FAIL", "INVALID", "INCONCLUSIVE", "PASS"];
  const sortable = (table) => {
    const heads = [...table.tHead.rows[0].cells].slice(0, -1);
    const body = table.tBodies[0];
    for (const [at, head] of heads.entries()) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const each of heads) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const text = (row) => row.cells[at].textContent.trim();
        const compare = (a, b) => {
          if (at === 0) return verdicts.indexOf(a.dataset.state) - verdicts.indexOf(b.dataset.state);
          if (head.classList.contains("number")) return worth(a.cells[at]) - worth(b.cells[at]) || 0;
          return text(a).localeCompare(text(b));
        };
        const rows = [...body.rows].sort(compare);
        body.append(...(up ? rows : rows.reverse()));
      });
    }
  };
  document.querySelectorAll("table[data-filtered]").forEach(sortable);

  // A link to a gate opens what is said of it.
  const pointed = () => {
    const row = document.getElementById(location.hash.slice(1));
    const fold = row && row.matches("tr") && row.querySelector(".why > details");
    if (fold) fold.open = true;
  };
  addEventListener("hashchange", pointed);
  pointed();

  document.querySelectorAll("form.filter").forEach(filter);

  // Which loads keep the SLO that the reader types? A request that failed has no times here, and keeps none.
  const slo = (form) => {
    const numbers = (text) => text ? text.split(" ").map(Number) : [];
    const loads = [...form.parentElement.querySelectorAll("table.slo tbody tr")].map((row) => ({
      row,
      model: row.dataset.row,
      rate: Number(row.dataset.rate),
      sent: Number(row.dataset.sent),
      ttft: numbers(row.dataset.ttft),
      tpot: numbers(row.dataset.tpot),
    }));
    const typed = (name) => form.elements[name].value === "" ? NaN : Number(form.elements[name].value);
    const told = form.querySelector("output");
    const first = told.textContent;
    form.addEventListener("input", () => {
      const ttft = typed("ttft"), tpot = typed("tpot"), wanted = typed("share") / 100;
      const asked = !(Number.isNaN(ttft) && Number.isNaN(tpot)) && wanted >= 0;
      const highest = new Map();
      for (const load of loads) {
        const kept = load.ttft.filter((value, at) => !(value > ttft) && !(load.tpot[at] > tpot)).length / load.sent;
        const keeps = asked && kept >= wanted;
        load.row.querySelector("output").textContent = asked ? `${keeps ? "✓ " : ""}${(100 * kept).toFixed(1)} %` : "—";
        load.row.classList.toggle("keeps", keeps);
        if (!highest.has(load.model)) highest.set(load.model, 0);
        if (keeps && load.rate > highest.get(load.model)) highest.set(load.model, load.rate);
      }
      const rates = [...highest].map(([model, rate]) => `${model}: ${rate ? `${rate} requests/s` : "no rate of this run"}`);
      told.textContent = asked ? `Highest rate that keeps it: ${rates.join("; ")}` : first;
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
  };
  document.querySelectorAll("form.slo").forEach(slo);
  const specs = JSON.parse(document.getElementById("plots").textContent);
  // Data are packed column by column (packing.py).
  const column = (packed, rows) => {
    if (Array.isArray(packed)) return packed;
    return "only" in packed ? Array(rows).fill(packed.only) : packed.at.map((place) => packed.of[place]);
  };
  const unpacked = (spec) => {
    const data = "same" in spec.data ? specs[spec.data.same].data : spec.data;
    if (!data.columns) return spec;
    const columns = data.columns.map((packed) => column(packed, data.rows));
    const cells = (row) => columns.map((values) => values[row]);
    const row = data.names
      ? (at) => Object.fromEntries(cells(at).map((value, field) => [data.names[field], value]))
      : cells;
    return { ...spec, data: { values: Array.from({ length: data.rows }, (_, at) => row(at)) } };
  };
  // One after the other with a pause between them: what is there already can be read and used meanwhile.
  (async () => {
    for (const element of document.querySelectorAll("[data-plot]")) {
      await draw(element, unpacked(specs[Number(element.dataset.plot)]));
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  })();

  // What is folded cannot be read on paper; the sentences on gates that passed would fill pages.
  const unfolded = [];
  addEventListener("beforeprint", () => {
    const hidden = 'details:is(.table, .more, .command):not([open]), tr:not([data-state="PASS"]) > .why > details:not([open])';
    for (const one of document.querySelectorAll(hidden)) {
      one.open = true;
      unfolded.push(one);
    }
  });
  addEventListener("afterprint", () => { for (const one of unfolded.splice(0)) one.open = false; });
})();
