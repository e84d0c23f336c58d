// Places what is drawn as MNIST's digits are: scaled to fit 20 x 20 pixels, their aspect
// kept, the centre of mass in the middle of 28 x 28. Ink is 255.
const SIDE = 28, BOX = 20;
// Where their centre of mass is: the middle of the pixel 14, counted from 0.
const MASS = 14.5;
// Half the width of a stroke in those pixels: MNIST's are 2 to 3 wide.
const RADIUS = 1.2;
// Of the pad's side: what is shorter is a speck.
const LEAST_SIDE = 0.05;

const distance = (x, y, [ax, ay], [bx, by]) => {
  const dx = bx - ax, dy = by - ay, length = dx * dx + dy * dy;
  const t = length ? Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
};

// Pixels in [0, 1] of lines in their coordinates.
const rendered = (strokes, radius = RADIUS) => {
  const pixels = new Float64Array(SIDE * SIDE);
  for (const stroke of strokes) for (let i = 0; i < stroke.length; i++) {
    const a = stroke[i], b = stroke[i + 1] || a;
    if (i && i === stroke.length - 1) break;
    const [left, right] = [Math.min(a[0], b[0]), Math.max(a[0], b[0])];
    const [top, bottom] = [Math.min(a[1], b[1]), Math.max(a[1], b[1])];
    const from = (low) => Math.max(0, Math.floor(low - radius - 1));
    const to = (high) => Math.min(SIDE - 1, Math.ceil(high + radius + 1));
    for (let y = from(top); y <= to(bottom); y++) for (let x = from(left); x <= to(right); x++) {
      const ink = radius + 0.5 - distance(x + 0.5, y + 0.5, a, b);
      const at = y * SIDE + x;
      if (ink > pixels[at]) pixels[at] = Math.min(1, ink);
    }
  }
  return pixels;
};

const centre = (pixels) => {
  let sum = 0, x = 0, y = 0;
  pixels.forEach((ink, i) => {
    sum += ink; x += ink * (i % SIDE + 0.5); y += ink * (Math.floor(i / SIDE) + 0.5);
  });
  return [x / sum, y / sum];
};

const asBytes = (pixels) => Uint8Array.from(pixels, (ink) => Math.round(255 * ink));

// Strokes are lists of points [x, y] from 0 to 1.
const placeStrokes = (strokes) => {
  const points = strokes.flat();
  if (!points.length) return new Uint8Array(SIDE * SIDE);
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
  const left = Math.min(...xs), right = Math.max(...xs);
  const top = Math.min(...ys), bottom = Math.max(...ys);
  const long = Math.max(right - left, bottom - top);
  if (long < LEAST_SIDE) return new Uint8Array(SIDE * SIDE);
  const scale = (BOX - 2 * RADIUS) / long, middle = SIDE / 2;
  const at = (dx, dy) => strokes.map((stroke) => stroke.map(([x, y]) => [
    middle + dx + scale * (x - (left + right) / 2), middle + dy + scale * (y - (top + bottom) / 2)]));
  const [x, y] = centre(rendered(at(0, 0)));
  return asBytes(rendered(at(MASS - x, MASS - y)));
};

const quantile = (values, share) => {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
};

// Grey values from 0 to 1 of a picture, dark on light or light on dark.
const placePicture = (grey, width, height) => {
  const blank = new Uint8Array(SIDE * SIDE), border = [];
  for (let x = 0; x < width; x++) border.push(grey[x], grey[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) border.push(grey[y * width], grey[y * width + width - 1]);
  const paper = quantile(border, 0.5);
  let skew = 0;
  for (const value of grey) skew += (value - paper) ** 3;
  let ink = Float64Array.from(grey, (value) => Math.max(0, Math.sign(skew) * (value - paper)));
  const most = ink.reduce((a, b) => Math.max(a, b), 0);
  const level = quantile(ink.filter((value) => value >= most / 2), 0.8);
  if (!(level >= 0.08)) return blank;
  ink = ink.map((value) => value < 0.2 * level ? 0 : Math.min(1, value / level));
  let left = width, right = -1, top = height, bottom = -1;
  ink.forEach((value, i) => {
    if (!value) return;
    const x = i % width, y = Math.floor(i / width);
    left = Math.min(left, x); right = Math.max(right, x);
    top = Math.min(top, y); bottom = Math.max(bottom, y);
  });
  const long = Math.max(right - left, bottom - top) + 1;
  if (long < LEAST_SIDE * Math.max(width, height)) return blank;
  // Each pixel is the mean of its area, from a square around the digit's middle.
  const scale = long / BOX, cx = (left + right + 1) / 2, cy = (top + bottom + 1) / 2;
  const sampled = (dx, dy) => {
    const pixels = new Float64Array(SIDE * SIDE), steps = Math.max(2, Math.ceil(scale));
    for (let y = 0; y < SIDE; y++) for (let x = 0; x < SIDE; x++) {
      let sum = 0;
      for (let v = 0; v < steps; v++) for (let u = 0; u < steps; u++) {
        const px = Math.floor(cx + scale * (x + (u + 0.5) / steps - SIDE / 2 - dx));
        const py = Math.floor(cy + scale * (y + (v + 0.5) / steps - SIDE / 2 - dy));
        if (px >= 0 && px < width && py >= 0 && py < height) sum += ink[py * width + px];
      }
      pixels[y * SIDE + x] = sum / steps ** 2;
    }
    const high = pixels.reduce((a, b) => Math.max(a, b), 0);
    const full = quantile(pixels.filter((value) => value >= high / 2), 0.8);
    return pixels.map((value) => Math.min(1, value / full));
  };
  const [x, y] = centre(sampled(0, 0));
  return asBytes(sampled(Math.round(MASS - x), Math.round(MASS - y)));
};
