"use strict";
// Boxes are drawn on a scan, in its pixels, and written down as a layout.
const canvas = document.querySelector("#sheet canvas");
const at = (id) => document.getElementById(id);
const pen = canvas.getContext("2d");
const scan = new Image();
const fields = [];
let marks = [];
let made = 0;
let from = null;
let now = null;
const KINDS = { digits: "digits", number: "a number", decimals: "a number, 2 decimals" };

function point(event) {
  const box = canvas.getBoundingClientRect();
  const share = canvas.width / box.width;
  const place = [event.clientX - box.left, event.clientY - box.top];
  // Who drags beyond the sheet means its edge.
  const sides = [canvas.width, canvas.height];
  return place.map((one, i) => Math.min(Math.max(one * share, 0), sides[i]));
}

const round = (number) => Math.round(number * 10) / 10;
const mode = () => document.querySelector("input[name=mode]:checked").value;

function draw() {
  pen.drawImage(scan, 0, 0);
  pen.lineWidth = Math.max(2, canvas.width / 500);
  pen.font = `${Math.max(14, canvas.width / 60)}px sans-serif`;
  pen.strokeStyle = pen.fillStyle = "#0a6e4f";
  for (const field of fields) {
    pen.strokeRect(...field.box);
    pen.fillText(field.name, field.box[0], field.box[1] - 4);
    for (let cell = 1; cell < field.cells; cell += 1) {
      const x = field.box[0] + (field.box[2] * cell) / field.cells;
      pen.beginPath();
      pen.moveTo(x, field.box[1]);
      pen.lineTo(x, field.box[1] + field.box[3]);
      pen.stroke();
    }
  }
  pen.strokeStyle = pen.fillStyle = "#c2410c";
  marks.forEach(([x, y], number) => {
    pen.beginPath();
    pen.arc(x, y, canvas.width / 90, 0, 7);
    pen.stroke();
    pen.fillText(number + 1, x + canvas.width / 80, y);
  });
  if (from && now) pen.strokeRect(from[0], from[1], now[0] - from[0], now[1] - from[1]);
  at("text").value = text();
}

// A number as people type it: 7,5 is 7.5.
const number = (typed) => Number(typed.trim().replace(",", "."));

function text() {
  const layout = { page: [canvas.width, canvas.height] };
  if (marks.length === 4) layout.marks = marks.map((mark) => mark.map(round));
  layout.fields = fields.map((field) => {
    const said = { name: field.name, box: field.box.map(round) };
    if (field.cells) said.cells = field.cells;
    const digits = field.digits.split(/[-–]/).map(number).filter(Boolean);
    if (digits.length) said.digits = digits.length > 1 ? digits : digits[0];
    if (field.kind === "decimals") said.decimals = 2;
    if (field.kind !== "digits") {
      said.min = 0;
      if (field.most !== "") said.max = number(field.most);
      if (field.step !== "") said.step = number(field.step);
    }
    if (field.optional) said.optional = true;
    return said;
  });
  return JSON.stringify(layout, null, 1);
}

function cell(row, made) {
  const place = document.createElement("td");
  place.append(made);
  row.append(place);
}

function entry(field, name, size, type = "text") {
  const made = document.createElement("input");
  made.type = type;
  made.size = size;
  made.setAttribute("aria-label", name);
  if (type === "checkbox") made.checked = field[name];
  else made.value = field[name] || "";
  made.oninput = () => {
    if (type === "checkbox") field[name] = made.checked;
    else field[name] = name === "cells" ? Number(made.value) || 0 : made.value;
    draw();
  };
  return made;
}

function list() {
  at("fields").replaceChildren();
  for (const field of fields) {
    const row = document.createElement("tr");
    cell(row, entry(field, "name", 10));
    const kind = document.createElement("select");
    kind.setAttribute("aria-label", "kind");
    for (const [value, words] of Object.entries(KINDS)) kind.add(new Option(words, value));
    kind.value = field.kind;
    kind.onchange = () => { field.kind = kind.value; draw(); };
    cell(row, kind);
    for (const [name, size] of [["digits", 4], ["cells", 2], ["most", 4], ["step", 3]])
      cell(row, entry(field, name, size));
    cell(row, entry(field, "optional", 1, "checkbox"));
    const gone = document.createElement("button");
    gone.textContent = "Remove";
    gone.onclick = () => { fields.splice(fields.indexOf(field), 1); list(); draw(); };
    cell(row, gone);
    at("fields").append(row);
  }
}

canvas.onpointerdown = (event) => {
  if (mode() === "mark") {
    marks = [...(marks.length < 4 ? marks : []), point(event)];
    return draw();
  }
  from = point(event);
  canvas.setPointerCapture(event.pointerId);
};
canvas.onpointermove = (event) => {
  if (!from) return;
  now = point(event);
  draw();
};
canvas.onpointerup = () => {
  if (from && now) {
    const box = [Math.min(from[0], now[0]), Math.min(from[1], now[1]),
      Math.abs(now[0] - from[0]), Math.abs(now[1] - from[1])];
    if (box[2] > 4 && box[3] > 4) {
      made += 1;
      fields.push({ name: `field_${made}`, box, kind: "digits", digits: "",
        cells: 0, most: "", step: "", optional: false });
      list();
    }
  }
  from = now = null;
  draw();
};
at("undo").onclick = () => {
  if (mode() === "mark") marks.pop();
  else fields.pop();
  list();
  draw();
};
at("save").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text()], { type: "application/json" }));
  link.download = "layout.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
scan.onload = () => {
  canvas.width = scan.width;
  canvas.height = scan.height;
  draw();
};
scan.src = GIVEN.picture;
