"use strict";
// Draws the charts, keeps one choice of a point for all of them and the tables, saves
// pictures, and sorts tables by their columns.
(async () => {
  const read = (id) => document.getElementById(id).textContent;
  const { page: config, file } = JSON.parse(read("config"));
  const specs = JSON.parse(await unpacked(read("specs")));
  const STORE = "picked_store";
  const views = [];
  const bar = document.getElementById("choice");
  let sharing = false;

  // Long names leave room for the chart.
  if (innerWidth < 700) Object.assign(config.axis, { labelLimit: 165, labelFontSize: 11 });
  config.legend.labelLimit = Math.min(520, innerWidth - 110);

  function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(plain).text();
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
    const label = store.length ? store[0].values[0] : null;
    const others = views.filter(({ view }) => view !== source);
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
    const options = { renderer: "svg", config: file, actions: false };
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
    const options = { renderer: "svg", config, actions: false };
    vegaEmbed(place, specs[name], options).then(({ view }) => {
      // The paper's charts have no points to choose.
      if (!specs[name].params) return;
      view.addDataListener(STORE, (_, store) => choose(store, view));
      views.push({ name, view, labels: new Set(labels) });
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

  bar.querySelector("button").addEventListener("click", () => choose([], null));
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

  function compare(one, other) {
    const texts = [one, other].map((cell) => cell?.textContent ?? "");
    const [a, b] = texts.map(number);
    if (!isNaN(a) && !isNaN(b)) return a - b;
    return texts[0].localeCompare(texts[1], undefined, { numeric: true });
  }

  for (const table of document.querySelectorAll("table.sortable, .text table")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const body = table.tBodies[0];
        const rows = [...body.rows].sort((one, other) => compare(one.cells[column], other.cells[column]));
        body.append(...(up ? rows : rows.reverse()));
      });
    });
  }
})();
