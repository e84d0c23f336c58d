"use strict";
// One field after the other: its picture, and what a person types.
const rows = GIVEN.rows;
// Of a page on which the form was not found all is shown.
const picture = (row) => row.picture || GIVEN.pages[row.page];
const open = rows.filter((row) => !row.accepted && picture(row));
// What was typed stays in the browser, for these very pages and fields.
const key = "typed:" + rows.map((row) => [row.page, row.field, row.value]).join("|");
const name = "fields-" + [...key].reduce((sum, c) => (31 * sum + c.charCodeAt(0)) >>> 0, 7);
let typed = {};
try { typed = JSON.parse(localStorage.getItem(name)) || {}; } catch { typed = {}; }
const at = (id) => document.getElementById(id);
const id = (row) => row.page + "\n" + row.field;
let place = open.findIndex((row) => !(id(row) in typed));
if (place < 0) place = open.length;

function show() {
  const done = open.filter((row) => id(row) in typed).length;
  at("about").textContent = open.length
    ? `${done} of ${open.length} typed; ${rows.length - open.length} others are in the table`
    : "Nothing is left to type.";
  document.querySelector("#bar div").style.width =
    `${open.length ? (100 * done) / open.length : 100}%`;
  at("card").hidden = place >= open.length;
  if (place >= open.length) return at("save").focus();
  const row = open[place];
  at("name").textContent = `${row.field}, ${row.page}`;
  at("why").textContent = row.why;
  at("picture").src = picture(row);
  at("picture").className = row.picture ? "" : "whole";
  at("answer").value = id(row) in typed ? typed[id(row)] : row.value;
  at("answer").focus();
  at("answer").select();
}

function keep(text) {
  if (place >= open.length) return;
  typed[id(open[place])] = text.trim().replace(",", ".");
  try {
    localStorage.setItem(name, JSON.stringify(typed));
  } catch {
    at("kept").textContent = "This browser keeps nothing: save the table before you leave.";
  }
  place += 1;
  show();
}

function cell(text) {
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function table() {
  const lines = ["page,field,value,by"];
  for (const row of rows) {
    const mine = id(row) in typed;
    const by = mine ? "typed" : row.accepted ? "read" : "open";
    const value = mine ? typed[id(row)] : row.accepted ? row.value : "";
    lines.push([row.page, row.field, value, by].map(cell).join(","));
  }
  return lines.join("\n") + "\n";
}

at("next").onclick = () => keep(at("answer").value);
at("answer").onkeydown = (event) => {
  if (event.key === "Enter") keep(at("answer").value);
  else if (event.key === "Escape") keep("");
  else if (event.key === "ArrowUp" && place > 0) { place -= 1; show(); }
  else return;
  event.preventDefault();
};
at("save").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
  link.download = "fields-complete.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
show();
