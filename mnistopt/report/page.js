"use strict";
// Draws the charts, keeps one choice of a point for all of them and the tables, saves
// pictures and tables, and sorts tables by their columns.
(async () => {
  const read = (id) => document.getElementById(id).textContent;
  const { page: config, file } = JSON.parse(read("config"));
  const specs = JSON.parse(await unpacked(read("specs")));
  const STORE = "picked_store";
  const views = [];
  const bar = document.getElementById("choice");
  let sharing = false;
  let current = null;
  // Between the classes of a cell of the confusion matrix, and the one that is shown.
  const BETWEEN = "\u001f";
  let seen = "";

  // On a phone long names are broken after a comma, and leave room for the chart.
  const narrow = innerWidth < 700;
  const NAME = 24;
  if (narrow) Object.assign(config.axis, { labelLimit: 165, labelFontSize: 11 });
  const comma = `lastindexof(slice(datum.label, 0, ${NAME}), ',') + 1`;
  const broken =
    `length(datum.label) > ${NAME} && ${comma} > 0 ` +
    `? [slice(datum.label, 0, ${comma}), slice(datum.label, ${comma} + 1)] : datum.label`;
  const plain = (text) => text.replace(/[\s,]/g, "");
  config.legend.labelLimit = Math.min(520, innerWidth - 110);

  function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(plain).text();
  }

  function wrapped(part) {
    if (Array.isArray(part)) return part.map(wrapped);
    if (!part || typeof part !== "object") return part;
    const copy = Object.fromEntries(Object.entries(part).map(([key, value]) => [key, wrapped(value)]));
    if (copy.y?.field === "label") copy.y.axis = { ...copy.y.axis, labelExpr: broken, labelLineHeight: 12 };
    return copy;
  }

  const hasRows = (part) =>
    part && typeof part === "object" && (part.y?.field === "label" || Object.values(part).some(hasRows));

  // Panels beside each other get the room that there is.
  function fitted(whole, room) {
    const spec = narrow ? wrapped(whole) : whole;
    if (spec.facet && spec.spec.width) {
      const columns = Math.max(1, Math.floor(room / (spec.spec.width + 36)));
      return { ...spec, columns: Math.min(spec.columns, columns) };
    }
    if (spec.concat) {
      const columns = Math.max(1, Math.min(spec.columns, Math.floor(room / 180)));
      const width = Math.floor(room / columns - 62);
      return { ...spec, columns, concat: spec.concat.map((panel) => ({ ...panel, width })) };
    }
    if (spec.vconcat) {
      return { ...spec, vconcat: spec.vconcat.map((panel) => ({ ...panel, width: room - 70 })) };
    }
    if (!spec.hconcat) return spec;
    const count = spec.hconcat.length;
    const names = Math.min(180, 0.4 * room);
    const width = Math.max(110, Math.floor((room - names) / count - 30));
    return { ...spec, hconcat: spec.hconcat.map((panel) => ({ ...panel, width })) };
  }

  function show(label) {
    for (const row of document.querySelectorAll("tr[data-label]")) {
      const chosen = row.dataset.label === label;
      row.classList.toggle("chosen", chosen);
      row.querySelector("button")?.setAttribute("aria-pressed", chosen);
    }
    bar.hidden = label === null;
    bar.querySelector("span").textContent = label ?? "";
  }

  // A choice made in one place is made in all.
  async function choose(store, source) {
    if (sharing) return;
    sharing = true;
    let label = store.length ? store[0].values[0] : null;
    let others = views.filter(({ view }) => view !== source);
    // Vega takes a number of an axis, too, for something to choose.
    const own = views.find(({ view }) => view === source);
    if (own && label !== null && !own.labels.has(label)) {
      [label, others, store] = [current, views, tuples(current)];
    }
    current = label;
    // A chart that does not have the point stays as it is.
    for (const { view, labels } of others) {
      view.data(STORE, labels.has(label) ? store.map((tuple) => ({ ...tuple })) : []);
    }
    await Promise.all(others.map(({ view }) => view.runAsync()));
    show(label);
    sharing = false;
  }

  function tuples(label) {
    const fields = [{ type: "E", field: "label" }];
    return label === null ? [] : [{ unit: "", fields, values: [label] }];
  }

  // As it is, but with the colours of a file: the page's are its style sheet's.
  async function save(name, form) {
    const spec = specs[name];
    const whole = { ...spec, width: file.view.continuousWidth, title: spec.usermeta.title };
    const options = { mode: "vega-lite", renderer: "svg", config: file, actions: false };
    const { view } = await vegaEmbed(document.createElement("div"), whole, options);
    const shown = views.find((one) => one.name === name);
    if (shown) await view.data(STORE, shown.view.data(STORE)).runAsync();
    const link = document.createElement("a");
    link.href = await view.toImageURL(form, 2);
    link.download = `${name}.${form}`;
    link.click();
  }

  for (const place of document.querySelectorAll("[data-chart]")) {
    const name = place.dataset.chart;
    const { labels } = specs[name].usermeta;
    const options = { mode: "vega-lite", renderer: "svg", config, actions: false };
    if (specs[name].hconcat?.length > 2) place.closest("figure").classList.add("wide");
    const spec = fitted(specs[name], place.clientWidth);
    vegaEmbed(place, spec, options).then(({ view }) => {
      // The paper's charts have no points to choose.
      if (!specs[name].params) return;
      view.addDataListener(STORE, (_, store) => choose(store, view));
      views.push({ name, view, labels: new Set(labels) });
      if (name !== "confusion") return;
      view.addEventListener("click", (_, item) => {
        const { true: taken, predicted } = item?.datum ?? {};
        const wrong = taken !== undefined && taken !== predicted;
        const clicked = wrong ? `${taken}${BETWEEN}${predicted}` : "";
        look(clicked === seen ? "" : clicked);
      });
    });
    // The names of rows, too, can be clicked.
    if (specs[name].params && hasRows(spec)) place.dataset.rows = "";
    if ("rows" in place.dataset) place.addEventListener("click", ({ target }) => {
      const text = target.closest?.(".role-axis-label") && target.closest("text")?.textContent;
      const named = labels.find((label) => text && plain(label) === plain(text));
      if (named !== undefined) choose(tuples(named), null);
    });
    const buttons = document.createElement("div");
    buttons.className = "save";
    for (const form of ["svg", "png"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = form.toUpperCase();
      button.setAttribute("aria-label", `Save as ${form.toUpperCase()}: ${name}`);
      button.addEventListener("click", () => save(name, form));
      buttons.append(button);
    }
    place.after(buttons);
  }

  // A click on a cell of the confusion matrix shows its digits, as far as they are kept.
  async function look(cell) {
    seen = cell;
    const mistakes = views.find(({ name }) => name === "mistakes");
    if (!mistakes) return;
    await mistakes.view.signal("cell", cell).runAsync();
    const figure = document.querySelector('figure[data-name="mistakes"]');
    const none = figure.querySelector("image") ? "" : " by the vote: none kept";
    const words = cell.split(BETWEEN).join(" read as ");
    figure.querySelector("h3").textContent = cell ? words + none : specs.mistakes.usermeta.title.text;
  }

  bar.querySelector("button").addEventListener("click", () => choose([], null));
  addEventListener("keydown", ({ key }) => {
    if (key !== "Escape") return;
    if (!bar.hidden) choose([], null);
    look("");
  });
  for (const row of document.querySelectorAll("tr[data-label]")) {
    const name = row.cells[0];
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name.textContent;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      const again = row.classList.contains("chosen");
      choose(tuples(again ? null : row.dataset.label), null);
    });
    name.replaceChildren(button);
  }

  // Of "1,234" and "97.17 [96.15, 97.92]" the first number; NaN of "128x128".
  const number = (text) => parseFloat(text.match(/^[-+]?[\d.,]+(?= |$)/)?.[0].replaceAll(",", ""));

  // Of a column with numbers what has none comes last, both ways.
  function compare(one, other, up) {
    const texts = [one, other].map((cell) => cell?.textContent.trim() ?? "");
    const [a, b] = texts.map(number);
    const turn = up ? 1 : -1;
    if (!isNaN(a) && !isNaN(b)) return turn * (a - b);
    if (isNaN(a) !== isNaN(b)) return isNaN(a) ? 1 : -1;
    return turn * texts[0].localeCompare(texts[1], undefined, { numeric: true });
  }

  function save_as(name, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function csv(table) {
    const cell = ({ textContent }) => `"${textContent.trim().replaceAll('"', '""')}"`;
    return [...table.rows].map((row) => [...row.cells].map(cell).join(",")).join("\n") + "\n";
  }

  for (const button of document.querySelectorAll("button[data-csv]")) {
    const table = button.parentElement.querySelector("table");
    button.addEventListener("click", () => save_as(`${button.dataset.csv}.csv`, csv(table)));
  }

  for (const text of document.querySelectorAll(".text pre")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "copy";
    button.addEventListener("click", async () => {
      const chosen = document.createRange();
      chosen.selectNodeContents(text);
      const plain = text.textContent;
      try {
        await navigator.clipboard.writeText(plain);
      } catch {
        // A page from a file may not be allowed to.
        getSelection().removeAllRanges();
        getSelection().addRange(chosen);
        document.execCommand("copy");
      }
      button.textContent = "copied";
      setTimeout(() => (button.textContent = "copy"), 2000);
    });
    text.before(button);
  }

  for (const chooser of document.querySelectorAll("select[data-pictures]")) {
    const figures = [...chooser.closest("section").querySelectorAll("figure")];
    const shown = () => {
      for (const figure of figures) figure.classList.toggle("away", figure.dataset.name !== chooser.value);
      dispatchEvent(new Event("resize"));
    };
    chooser.addEventListener("change", shown);
    shown();
  }

  for (const table of document.querySelectorAll("table.sortable, .text table")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        // The best first: of accuracies the largest, of all else the smallest.
        const before = head.getAttribute("aria-sort");
        const first = head.textContent.includes("%") ? "descending" : "ascending";
        const second = first === "ascending" ? "descending" : "ascending";
        const up = (before === first ? second : first) === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const body = table.tBodies[0];
        const cell = (row) => row.cells[column];
        body.append(...[...body.rows].sort((one, other) => compare(cell(one), cell(other), up)));
      });
    });
  }
})();
