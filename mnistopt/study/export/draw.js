// The page: what is drawn becomes an image, and the image an answer.
const find = (id) => document.getElementById(id);
const pad = find("pad"), pen = pad.getContext("2d"), area = pad.closest("section");
let strokes = [], picture = null, waiting = false, cursor = null, down = false;
const drawing = new Map();

const start = () => {
  let classifier;
  try {
    classifier = Classifier(find("network").textContent);
  } catch (error) {
    find("class").textContent = "This file cannot be used";
    find("sure").textContent = error.message;
    document.body.classList.add("refused");
    return;
  }
  globalThis.classifier = {...classifier, placeStrokes, placePicture};
  const paint = (canvas, image, width, height, most = 255, channels = 1, channel = 0) => {
    canvas.width = width; canvas.height = height;
    const context = canvas.getContext("2d"), data = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      const value = 255 * image[i * channels + channel] / most;
      data.data.set([value, value, value, 255], 4 * i);
    }
    context.putImageData(data, 0, 0);
  };

  const bars = classifier.classes.map((name) => {
    const item = document.createElement("li");
    item.innerHTML = '<span class="name"></span><span class="track"><span class="bar"></span></span><span class="percent"></span>';
    item.querySelector(".name").textContent = name;
    find("bars").append(item);
    return item;
  });

  classifier.examples.forEach((image, k) => {
    const button = document.createElement("button"), canvas = document.createElement("canvas");
    button.type = "button";
    button.setAttribute("aria-label", `Example of ${classifier.classes[k]}`);
    paint(canvas, image, SIDE, SIDE);
    button.append(canvas);
    button.addEventListener("click", () => { show(image); });
    find("examples").append(button);
  });

  const showFirst = (first) => {
    const [rows, columns, channels] = classifier.firstShape, box = find("first");
    const maps = rows * columns > 1;
    if (!box.children.length) {
      find("first-words").textContent = maps
        ? `${channels} maps of ${rows} x ${columns}, from ${classifier.firstName}: bright is where a kernel finds what it looks for.`
        : `${channels} units of ${classifier.firstName}: bright are those that the digit excites.`;
      for (let k = 0; k < (maps ? channels : 1); k++) {
        const canvas = document.createElement("canvas");
        canvas.className = maps ? "" : "units";
        box.append(canvas);
      }
    }
    const most = first ? Math.max(1, ...first) : 1;
    [...box.children].forEach((canvas, k) => {
      const wide = maps ? columns : Math.min(channels, 32);
      const high = maps ? rows : Math.ceil(channels / wide);
      const image = first || new Uint8Array(rows * columns * channels);
      paint(canvas, image, wide, high, most, maps ? channels : 1, maps ? k : 0);
    });
  };

  const answer = (image) => {
    const asked = classifier.inkIsDark ? image.map((byte) => 255 - byte) : image;
    const empty = !image.some((byte) => byte), began = performance.now();
    const {class: chosen, confidence, first} = classifier.classify(asked);
    const took = performance.now() - began;
    const nothing = empty && !strokes.length && !picture;
    paint(find("seen"), image, SIDE, SIDE);
    showFirst(nothing ? null : first);
    document.body.classList.toggle("refused", chosen < 0 && !nothing);
    find("class").textContent = nothing ? "\u00a0" : chosen < 0 ? "no digit" : classifier.classes[chosen];
    find("sure").textContent = nothing || chosen < 0 ? "" : `${Math.round(confidence[chosen] / 2.55)} % sure`;
    bars.forEach((item, k) => {
      const share = nothing ? 0 : confidence[k] / 255;
      item.classList.toggle("best", k === chosen && !nothing);
      item.querySelector(".bar").style.width = `${100 * share}%`;
      item.querySelector(".percent").textContent = nothing ? "" : `${Math.round(100 * share)} %`;
    });
    find("time").textContent = nothing ? "" : `Read in ${took.toFixed(1)} ms by this device.`;
    globalThis.answer = {class: chosen, confidence, milliseconds: took, image: asked};
  };

  const redraw = () => {
    const side = pad.width;
    pen.fillStyle = "#000"; pen.fillRect(0, 0, side, side);
    if (picture) {
      const small = document.createElement("canvas");
      paint(small, picture, SIDE, SIDE);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(small, 0, 0, side, side);
    }
    pen.strokeStyle = pen.fillStyle = "#fff";
    pen.lineWidth = side * 0.065; pen.lineCap = pen.lineJoin = "round";
    for (const stroke of strokes) {
      pen.beginPath();
      stroke.forEach(([x, y]) => pen.lineTo(x * side, y * side));
      const [x, y] = stroke[0];
      if (stroke.length === 1) pen.lineTo(x * side + 0.1, y * side);
      pen.stroke();
    }
    if (cursor) {
      pen.strokeStyle = down ? "#ff9d45" : "#7cc4f5"; pen.lineWidth = 4;
      pen.beginPath(); pen.arc(cursor[0] * side, cursor[1] * side, 14, 0, 7); pen.stroke();
    }
    area.classList.toggle("drawn", Boolean(strokes.length || picture || cursor));
    find("undo").disabled = !strokes.length && !picture;
    find("clear").disabled = find("undo").disabled;
  };

  const update = () => {
    waiting = false;
    redraw();
    answer(picture || placeStrokes(strokes));
  };
  const changed = () => {
    if (!waiting) requestAnimationFrame(update);
    waiting = true;
  };
  const show = (image) => { strokes = []; picture = image; changed(); };
  const clear = () => { strokes = []; picture = null; down = false; changed(); };
  const undo = () => { if (picture) picture = null; else strokes.pop(); down = false; changed(); };

  const place = (event) => {
    const box = pad.getBoundingClientRect();
    const within = (value) => Math.max(0, Math.min(1, value));
    return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
  };
  const begin = (point) => {
    picture = null;
    const stroke = [point];
    strokes.push(stroke);
    changed();
    return stroke;
  };
  pad.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    pad.focus({preventScroll: true});
    cursor = null;
    pad.setPointerCapture(event.pointerId);
    drawing.set(event.pointerId, begin(place(event)));
  });
  pad.addEventListener("pointermove", (event) => {
    const stroke = drawing.get(event.pointerId);
    if (!stroke) return;
    const some = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const one of some.length ? some : [event]) stroke.push(place(one));
    changed();
  });
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
    pad.addEventListener(kind, (event) => drawing.delete(event.pointerId));
  }
  // Older browsers scroll by touch events, whatever the style says.
  pad.addEventListener("touchstart", (event) => event.preventDefault(), {passive: false});
  pad.addEventListener("touchmove", (event) => event.preventDefault(), {passive: false});
  pad.addEventListener("contextmenu", (event) => event.preventDefault());

  const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
  pad.addEventListener("keydown", (event) => {
    const move = moves[event.key], step = event.shiftKey ? 0.01 : 0.04;
    if (move) {
      const [x, y] = cursor || [0.5, 0.5];
      const within = (value) => Math.max(0.05, Math.min(0.95, value));
      cursor = [within(x + step * move[0]), within(y + step * move[1])];
      if (down) strokes[strokes.length - 1].push(cursor);
    } else if (event.key === " ") {
      cursor = cursor || [0.5, 0.5];
      down = !down;
      if (down) begin(cursor);
    } else if (event.key === "Escape") clear();
    else if (event.key.toLowerCase() === "z") undo();
    else return;
    event.preventDefault();
    changed();
  });
  pad.addEventListener("blur", () => { cursor = null; down = false; redraw(); });

  const open = async (file) => {
    try {
      const bitmap = await createImageBitmap(file);
      const share = Math.min(1, 280 / Math.max(bitmap.width, bitmap.height));
      const width = Math.max(1, Math.round(share * bitmap.width));
      const height = Math.max(1, Math.round(share * bitmap.height));
      const canvas = document.createElement("canvas");
      canvas.width = width; canvas.height = height;
      const context = canvas.getContext("2d");
      context.fillStyle = "#fff"; context.fillRect(0, 0, width, height);
      context.imageSmoothingQuality = "high";
      context.drawImage(bitmap, 0, 0, width, height);
      const {data} = context.getImageData(0, 0, width, height);
      const grey = Float64Array.from({length: width * height}, (_, i) =>
        (0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]) / 255);
      show(placePicture(grey, width, height));
    } catch {
      find("class").textContent = "not a picture";
      find("sure").textContent = `${file.name} cannot be read as one`;
      document.body.classList.add("refused");
    }
  };
  find("file").addEventListener("change", (event) => {
    if (event.target.files.length) open(event.target.files[0]);
    event.target.value = "";
  });
  addEventListener("dragover", (event) => { event.preventDefault(); area.classList.add("dropping"); });
  addEventListener("dragleave", () => area.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("dropping");
    if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
  });
  find("clear").addEventListener("click", clear);
  find("undo").addEventListener("click", undo);
  update();
};
start();
