"use strict";
// A classifier in whole numbers. All are below 2^53, so that JavaScript's are exact.
const Classifier = (text) => {
  const given = JSON.parse(text);
  const {classes, refusal, powers, powerStep, whole, inkIsDark} = given;
  const count = given.members.length;

  const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  let checksum = 2166136261;
  const members = given.members.map((layers) => layers.map((layer) => {
    if (layer.kind !== "conv") return layer;
    const kernel = bytes(layer.kernel);
    for (const byte of kernel) checksum = Math.imul(checksum ^ byte, 16777619);
    return {...layer, kernel: new Int8Array(kernel.buffer)};
  }));
  if (checksum >>> 0 !== given.checksum) throw new Error("its weights are damaged");

  const rescaled = (sum, offset, shift, low, high) => {
    const value = Math.floor((sum + offset) / 2 ** shift);
    return value < low ? low : value > high ? high : value;
  };

  // The sums of a convolution at all places, [rows][columns][features].
  const sums = (layer, input) => {
    const [h, w, c] = layer.seen, [rows, columns] = layer.places;
    const {kernel, groups} = layer, features = layer.shape[2], zero = layer.zeros[0];
    const [kh, kw] = layer.size, [down, across] = layer.stride, [top, left] = layer.padding;
    const per = c / groups, made = features / groups, length = kh * kw * c;
    const patch = new Int16Array(length), all = new Int32Array(rows * columns * features);
    const own = kh * kw * per;
    let at = 0;
    for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
      let p = 0, some = false;
      for (let y = 0; y < kh; y++) {
        const r = row * down - top + y;
        for (let x = 0; x < kw; x++) {
          const q = column * across - left + x;
          if (r < 0 || r >= h || q < 0 || q >= w) {
            patch.fill(0, p, p += c);
            continue;
          }
          for (let i = (r * w + q) * c, end = i + c; i < end; i++) {
            some = (patch[p++] = input[i] - zero) !== 0 || some;
          }
        }
      }
      if (!some) { // empty paper
        at += features;
        continue;
      }
      for (let feature = 0; feature < features;) {
        const start = feature * own;
        if (groups === 1 && feature + 4 <= features) { // four at a time are faster
          let a = 0, b = 0, d = 0, e = 0;
          for (let i = 0, k = start; i < own; i++, k++) {
            const v = patch[i];
            a += kernel[k] * v;
            b += kernel[k + own] * v;
            d += kernel[k + 2 * own] * v;
            e += kernel[k + 3 * own] * v;
          }
          all[at] = a; all[at + 1] = b; all[at + 2] = d; all[at + 3] = e;
          at += 4; feature += 4;
          continue;
        }
        const first = Math.floor(feature / made) * per;
        let sum = 0, k = start;
        for (let i = first; i < length; i += c) {
          for (let j = i; j < i + per; j++) sum += kernel[k++] * patch[j];
        }
        all[at++] = sum; feature++;
      }
    }
    return all;
  };

  const convolve = (layer, [input]) => {
    const all = sums(layer, input), [rows, columns, features] = layer.shape;
    const [down, across] = layer.places, pool = layer.pool;
    const {multiplier, offset, shift, low, high} = layer;
    const out = layer.last ? new Int32Array(features) : new Uint8Array(rows * columns * features);
    let at = 0;
    for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
      for (let f = 0; f < features; f++) {
        let most = -Infinity;
        if (!pool) most = all[at];
        else for (let y = 0; y < pool.size[0]; y++) {
          const r = row * pool.stride[0] - pool.padding[0] + y;
          if (r < 0 || r >= down) continue;
          for (let x = 0; x < pool.size[1]; x++) {
            const q = column * pool.stride[1] - pool.padding[1] + x;
            if (q < 0 || q >= across) continue;
            const sum = all[(r * across + q) * features + f];
            if (sum > most) most = sum;
          }
        }
        out[at++] = rescaled(most * multiplier[f], offset[f], shift[f], low, high);
      }
    }
    return out;
  };

  const add = (layer, [a, b]) => {
    const {zeros, multiplier, offset, shift, low, high} = layer;
    return Uint8Array.from(a, (value, i) => rescaled(
      (value - zeros[0]) * multiplier[0] + (b[i] - zeros[1]) * multiplier[1],
      offset[0], shift[0], low, high));
  };

  const select = (layer, inputs) => {
    const {source, channel, channels, zeros, multiplier, offset, shift} = layer;
    const features = source.length, pixels = layer.shape[0] * layer.shape[1];
    const out = new Uint8Array(pixels * features);
    for (let i = 0, at = 0; i < pixels; i++) for (let c = 0; c < features; c++) {
      const s = source[c], value = inputs[s][i * channels[s] + channel[c]] - zeros[s];
      out[at++] = rescaled(value * multiplier[s], offset[c], shift[c], 0, 255);
    }
    return out;
  };

  const kinds = {conv: convolve, add, select};

  // What each layer makes of an image, the image first.
  const trace = (layers, image) => {
    const made = [image];
    for (const layer of layers) {
      made.push(kinds[layer.kind](layer, layer.inputs.map((i) => made[i])));
    }
    return made;
  };

  const addShares = (logits, total) => {
    const most = Math.max(...logits);
    const some = Array.from(logits, (l) => powers[Math.floor((most - l) / powerStep)] || 0);
    const sum = some.reduce((a, b) => a + b);
    some.forEach((power, k) => { total[k] += Math.floor(power * whole / sum); });
  };

  // Takes the bytes of an image; the class is -1 where it is no digit.
  const classify = (image) => {
    const total = classes.map(() => 0);
    let ink = 0, first = null;
    for (const byte of image) ink += inkIsDark ? 255 - byte : byte;
    for (const layers of members) {
      const made = trace(layers, image);
      first = first || made[1];
      addShares(made[made.length - 1], total);
    }
    const confidence = total.map((t) => Math.floor((510 * t + whole * count) / (2 * whole * count)));
    const best = total.indexOf(Math.max(...total));
    const odd = ink < Math.max(1, refusal.leastInk) || ink > refusal.mostInk;
    const refused = odd || total[best] < refusal.leastShare * count;
    return {class: refused ? -1 : best, best, confidence, first, ink};
  };

  return {classify, classes, inkIsDark, firstShape: members[0][0].shape,
    firstName: members[0][0].name, examples: given.examples.map(bytes)};
};
