// 3x3 convolution, bias, ReLU and 2x2 max pool in one pass, for one core of a CPU.
//
// XLA writes whatever lies between two operations to memory. Here it stays in the first
// and second cache: a few tiles are transformed, multiplied, transformed back, pooled.
//
// Forward: Winograd's F(2x2, 3x3), with 2.25 times fewer multiplications than the
// convolution has (Lavin and Gray 2016, arXiv:1509.09308). The output is worked on in
// 2x2 cells; each sees a 4x4 tile of the input, whose transform is 16 numbers a channel,
// and 16 products of [tiles, channels] by [channels, features] give the outputs of all
// cells. With few channels that is mostly overhead: there the convolution is direct.
//
// Backward: direct, but sparse. A pool lets the gradient of one output in four through, a
// ReLU some of them, and the forward pass keeps as a byte which. What they let through
// is first gathered into lists, one of each kernel for its gradient, one of each pixel
// for that of the input. An entry then costs 9 multiplications and additions a channel,
// where Winograd's products have 16 for a cell, and transforms before and after. Only
// the kernels' gradient with few channels is dense.
//
// Arrays are [batch, height, width, channels], float32, of any size. A vector is W
// floats, by GCC's vector extensions, which Clang has as well: the same code for each
// set of instructions. No sum is taken within a vector, and none in an order
// that depends on W, so that all sets that multiply and add at once give the same bits:
// AVX2, AVX-512 and NEON, but not SSE.
//
// XLA calls the handlers at the end, from any thread; see fused.py.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "xla/ffi/api/ffi.h"

// A function takes on the instructions of whichever it becomes a part of.
#define INLINE inline __attribute__((always_inline))

namespace {

// Up to so many channels, RGB, the convolution is direct.
constexpr int64_t kFewChannels = 3;
// Tiles worked on at a time, of 32 channels 50 kB of transforms; a multiple of each
// product's rows.
constexpr int64_t kTiles = 24;
// A cache line between arrays that are written side by side: apart by a multiple of
// 4 kB they would contend for the same lines of the first cache.
constexpr int64_t kApart = 16;
// The byte of an output whose gradient goes nowhere; below it, the pixel of the cell,
// row by row, to which it goes.
constexpr int kNowhere = 4;
// The bits of a float's infinity: NaN have more, but for the sign.
constexpr int32_t kInfinity = 0x7f800000;

struct Layer {
  int64_t batch, height, width, channels, features;
  bool relu;  // With bias; neither without.
  bool pool;
  // Of cells; a pool cuts an odd last row or column.
  int64_t rows() const { return (height + !pool) / 2; }
  int64_t columns() const { return (width + !pool) / 2; }
  // Of an image with all that its cells' tiles see.
  int64_t padded_height() const { return 2 * rows() + 2; }
  int64_t padded_width() const { return 2 * columns() + 2; }
  int64_t out_height() const { return pool ? rows() : height; }
  int64_t out_width() const { return pool ? columns() : width; }
  // Numbers in all.
  int64_t inputs() const { return batch * height * width * channels; }
  int64_t taps() const { return 9 * channels * features; }
  int64_t outputs() const { return batch * out_height() * out_width() * features; }
};

constexpr std::align_val_t kLine{64};
struct Free {
  void operator()(float* p) const { ::operator delete(p, kLine); }
};

// Returns memory that a thread keeps from call to call: the system clears new pages, for
// as long as it takes to fill them. Each number N has its own.
template <int N>
float* room(int64_t floats) {
  static thread_local std::unique_ptr<float, Free> held;
  static thread_local int64_t size = 0;
  if (floats > size) {
    held.reset();
    size = 0;
    held.reset(static_cast<float*>(::operator new(4 * floats, kLine)));
    size = floats;
  }
  return held.get();
}

template <int W>
struct Vectors {
  typedef float Floats __attribute__((vector_size(4 * W), aligned(4)));
  typedef int32_t Ints __attribute__((vector_size(4 * W)));
  typedef uint8_t Bytes __attribute__((vector_size(W)));
};
template <int W>
using Vec = typename Vectors<W>::Floats;
template <int W>
using Ints = typename Vectors<W>::Ints;

// Reads n floats, at most W, and zeros after them.
template <int W>
INLINE Vec<W> load(const float* from, int64_t n = W) {
  if (n >= W) return *reinterpret_cast<const Vec<W>*>(from);
  Vec<W> v = {};
  std::memcpy(&v, from, 4 * n);
  return v;
}

template <int W>
INLINE void store(float* to, Vec<W> v, int64_t n = W) {
  if (n >= W)
    *reinterpret_cast<Vec<W>*>(to) = v;
  else
    std::memcpy(to, &v, 4 * n);
}

template <int W>
INLINE Ints<W> load_bytes(const uint8_t* from, int64_t n) {
  typename Vectors<W>::Bytes bytes = {};
  std::memcpy(&bytes, from, n >= W ? W : n);
  return __builtin_convertvector(bytes, Ints<W>);
}

template <int W>
INLINE void store_bytes(uint8_t* to, Ints<W> v, int64_t n) {
  auto bytes = __builtin_convertvector(v, typename Vectors<W>::Bytes);
  std::memcpy(to, &bytes, n >= W ? W : n);
}

// Copies an image into the middle of zeros, in blocks of W channels: to
// [channels / W, padded height, padded width, W]; W = 0 leaves channels as they are.
template <int W>
INLINE void pad(const Layer& layer, const float* image, float* padded) {
  int64_t c = layer.channels, wide = layer.padded_width();
  int64_t size = layer.padded_height() * wide * W;
  for (int64_t i = 0; i < layer.height; ++i) {
    const float* from = image + i * layer.width * c;
    int64_t to = (i + 1) * wide + 1;
    if constexpr (W == 0) {
      std::memcpy(padded + to * c, from, 4 * layer.width * c);
    } else {
      for (int64_t j = 0; j < layer.width; ++j, from += c)
        for (int64_t d = 0; d < c; d += W)
          store<W>(padded + d / W * size + (to + j) * W, load<W>(from + d, c - d));
    }
  }
}

// Writes an output, or a pooled one, after bias and ReLU, and where its gradient goes.
template <int W>
INLINE void emit(const Layer& layer, Vec<W> y, Ints<W> pixel, Vec<W> bias, int64_t at,
                 int64_t n, float* out, uint8_t* chosen) {
  if (layer.relu) {
    y += bias;
    pixel = y > 0 ? pixel : Ints<W>{} + kNowhere;
    y = y < 0 ? Vec<W>{} : y;  // NaN stays.
  }
  store<W>(out + at, y, n);
  if (chosen) store_bytes<W>(chosen + at, pixel, n);
}

// Writes the four outputs of a cell, from feature o on.
template <int W>
INLINE void finish(const Layer& layer, const Vec<W> (&y)[4], const float* bias, int64_t b,
                   int64_t row, int64_t column, int64_t o, float* out, uint8_t* chosen) {
  int64_t n = layer.features - o;
  Vec<W> shift = load<W>(bias + o, n);
  if (layer.pool) {
    // By their bits: `|` of two comparisons GCC 12 does one number at a time where the
    // baseline lacks such vectors, and the first layer's pool took ten times as long.
    Ints<W> highest = (Ints<W>)y[0], pixel = {};
#pragma GCC unroll 3
    for (int k = 1; k < 4; ++k) {
      Ints<W> bits = (Ints<W>)y[k];
      Ints<W> better = y[k] > (Vec<W>)highest ? Ints<W>{} - 1 : Ints<W>{};
      better |= (kInfinity - (bits & 0x7fffffff)) >> 31;  // NaN is the highest.
      highest = (bits & better) | (highest & ~better);
      pixel = (k & better) | (pixel & ~better);
    }
    int64_t at = (b * layer.rows() + row) * layer.columns() + column;
    emit<W>(layer, (Vec<W>)highest, pixel, shift, at * layer.features + o, n, out, chosen);
    return;
  }
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    int64_t i = 2 * row + k / 2, j = 2 * column + k % 2;
    if (i >= layer.height || j >= layer.width) continue;
    int64_t at = (b * layer.height + i) * layer.width + j;
    emit<W>(layer, y[k], Ints<W>{}, shift, at * layer.features + o, n, out, chosen);
  }
}

// Multiplies [R, depth], whose rows are a stride apart, by [depth, V * W].
template <int W, int R, int V>
INLINE void multiply(const float* a, int64_t stride, const float* b, int64_t depth,
                     float* product) {
  Vec<W> sums[R][V] = {};
  for (int64_t d = 0; d < depth; ++d, b += V * W) {
    Vec<W> row[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) row[v] = load<W>(b + v * W);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sums[r][v] += a[r * stride + d] * row[v];
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) store<W>(product + (r * V + v) * W, sums[r][v]);
}

// The paper's transforms, along one axis: of a tile, a kernel, and a cell's products.
template <int W>
INLINE void transform_tile(const Vec<W> (&d)[4], Vec<W> (&to)[4]) {
  to[0] = d[0] - d[2];
  to[1] = d[1] + d[2];
  to[2] = d[2] - d[1];
  to[3] = d[1] - d[3];
}
template <int W>
INLINE void transform_kernel(const Vec<W> (&g)[3], Vec<W> (&to)[4]) {
  to[0] = g[0];
  to[1] = 0.5f * (g[0] + g[1] + g[2]);
  to[2] = 0.5f * (g[0] - g[1] + g[2]);
  to[3] = g[2];
}
template <int W>
INLINE void transform_back(const Vec<W> (&m)[4], Vec<W> (&to)[2]) {
  to[0] = m[0] + m[1] + m[2];
  to[1] = m[1] - m[2] - m[3];
}

// Features are worked on in blocks of two vectors; what is left may be one. Returns
// where the vector of feature o, of some depth, stands in [blocks, depth, V * W].
template <int W>
INLINE float* in_block(const Layer& layer, float* blocks, int64_t depth, int64_t o,
                       int64_t* stride) {
  int64_t first = o / (2 * W) * (2 * W);
  *stride = layer.features - first > W ? 2 * W : W;
  return blocks + first * depth + (o - first);
}

// Transforms all kernels, to [blocks, 16, channels, V * W].
template <int W>
INLINE void transform_kernels(const Layer& layer, const float* kernel, float* to) {
  int64_t c = layer.channels, stride;
  for (int64_t o = 0; o < layer.features; o += W) {
    float* block = in_block<W>(layer, to, 16 * c, o, &stride);
    for (int64_t d = 0; d < c; ++d) {
      Vec<W> half[4][3];
      for (int j = 0; j < 3; ++j) {
        Vec<W> column[3], whole[4];
        for (int i = 0; i < 3; ++i) {
          int64_t tap = (3 * i + j) * c + d;
          column[i] = load<W>(kernel + tap * layer.features + o, layer.features - o);
        }
        transform_kernel<W>(column, whole);
        for (int i = 0; i < 4; ++i) half[i][j] = whole[i];
      }
      for (int i = 0; i < 4; ++i) {
        Vec<W> whole[4];
        transform_kernel<W>(half[i], whole);
        for (int j = 0; j < 4; ++j)
          store<W>(block + ((4 * i + j) * c + d) * stride, whole[j]);
      }
    }
  }
}

struct Place {
  int64_t b, row, column;
};

INLINE Place place(const Layer& layer, int64_t tile) {
  int64_t line = tile / layer.columns();
  return {line / layer.rows(), line % layer.rows(), tile % layer.columns()};
}

// Transforms some tiles, to 16 times [kTiles, channels], a stride apart.
template <int W>
INLINE void transform_tiles(const Layer& layer, const float* x, const float* zeros,
                            int64_t first, int64_t count, float* to, int64_t stride) {
  int64_t c = layer.channels;
  for (int64_t t = 0; t < count; ++t) {
    auto [b, row, column] = place(layer, first + t);
    const float* seen[4][4];
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) {
        int64_t y = 2 * row + i - 1, z = 2 * column + j - 1;
        bool inside = y >= 0 && y < layer.height && z >= 0 && z < layer.width;
        seen[i][j] = inside ? x + ((b * layer.height + y) * layer.width + z) * c : zeros;
      }
    for (int64_t d = 0; d < c; d += W) {
      Vec<W> half[4][4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        Vec<W> pixels[4], whole[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) pixels[i] = load<W>(seen[i][j] + d, c - d);
        transform_tile<W>(pixels, whole);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) half[i][j] = whole[i];
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        Vec<W> whole[4];
        transform_tile<W>(half[i], whole);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j)
          store<W>(to + (4 * i + j) * stride + t * c + d, whole[j], c - d);
      }
    }
  }
}

// Multiplies transformed tiles by a block of kernels, transforms back, and finishes.
template <int W, int R, int V>
INLINE void convolve_tiles(const Layer& layer, const float* tiles, int64_t stride,
                           const float* kernels, const float* bias, int64_t first,
                           int64_t count, int64_t o, float* products, float* out,
                           uint8_t* chosen) {
  constexpr int64_t wide = V * W, apart = kTiles * wide + kApart;
  int64_t c = layer.channels;
  for (int p = 0; p < 16; ++p)
    for (int64_t t = 0; t < kTiles; t += R)
      multiply<W, R, V>(tiles + p * stride + t * c, c, kernels + p * c * wide, c,
                        products + p * apart + t * wide);
  for (int64_t t = 0; t < count; ++t) {
    auto [b, row, column] = place(layer, first + t);
    for (int64_t v = 0; v < wide && o + v < layer.features; v += W) {
      Vec<W> half[2][4], y[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        Vec<W> m[4], whole[2];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i)
          m[i] = load<W>(products + (4 * i + j) * apart + t * wide + v);
        transform_back<W>(m, whole);
        half[0][j] = whole[0], half[1][j] = whole[1];
      }
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        Vec<W> whole[2];
        transform_back<W>(half[i], whole);
        y[2 * i] = whole[0], y[2 * i + 1] = whole[1];
      }
      finish<W>(layer, y, bias, b, row, column, o + v, out, chosen);
    }
  }
}

template <int W>
INLINE void convolve_by_winograd(const Layer& layer, const float* x, const float* kernel,
                                 const float* bias, float* out, uint8_t* chosen) {
  // As many rows as registers hold: AVX-512 and NEON have 32, the others 16.
#ifdef __x86_64__
  constexpr int R = W == 16 ? 12 : 6;
#else
  constexpr int R = 12;
#endif
  int64_t c = layer.channels, stride = kTiles * c + kApart;
  float* kernels = room<0>((layer.features + W) * 16 * c);
  float* tiles = room<1>(16 * stride + c);
  float* products = room<2>(16 * (kTiles * 2 * W + kApart));
  float* zeros = tiles + 16 * stride;
  std::fill_n(tiles, 16 * stride + c, 0.f);
  transform_kernels<W>(layer, kernel, kernels);
  int64_t all = layer.batch * layer.rows() * layer.columns();
  for (int64_t first = 0; first < all; first += kTiles) {
    int64_t count = std::min(kTiles, all - first);
    transform_tiles<W>(layer, x, zeros, first, count, tiles, stride);
    for (int64_t o = 0; o < layer.features; o += 2 * W) {
      const float* block = kernels + o * 16 * c;
      if (layer.features - o > W)
        convolve_tiles<W, R, 2>(layer, tiles, stride, block, bias, first, count, o,
                                products, out, chosen);
      else
        convolve_tiles<W, R, 1>(layer, tiles, stride, block, bias, first, count, o,
                                products, out, chosen);
    }
  }
}

// Convolves a padded image with a block of kernels, [9 * channels, V * W].
template <int W, int V>
INLINE void convolve_image(const Layer& layer, const float* padded, const float* kernels,
                           const float* bias, int64_t b, int64_t o, float* out,
                           uint8_t* chosen) {
  int64_t c = layer.channels, line = layer.padded_width() * c;
  for (int64_t row = 0; row < layer.rows(); ++row)
    for (int64_t column = 0; column < layer.columns(); ++column) {
      const float* tile = padded + 2 * row * line + 2 * column * c;
      const float* tap = kernels;
      Vec<W> y[V][4] = {};
      for (int i = 0; i < 3; ++i)
        for (int64_t j = 0; j < 3 * c; ++j, tap += V * W)
#pragma GCC unroll 2
          for (int v = 0; v < V; ++v) {
            Vec<W> weights = load<W>(tap + v * W);
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k)
              y[v][k] += tile[(k / 2 + i) * line + k % 2 * c + j] * weights;
          }
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v)
        if (o + v * W < layer.features)
          finish<W>(layer, y[v], bias, b, row, column, o + v * W, out, chosen);
    }
}

template <int W>
INLINE void convolve_directly(const Layer& layer, const float* x, const float* kernel,
                              const float* bias, float* out, uint8_t* chosen) {
  int64_t c = layer.channels, stride;
  int64_t size = layer.padded_height() * layer.padded_width() * c;
  float* padded = room<0>(size);
  float* kernels = room<1>((layer.features + W) * 9 * c);
  std::fill_n(padded, size, 0.f);
  for (int64_t o = 0; o < layer.features; o += W) {
    float* block = in_block<W>(layer, kernels, 9 * c, o, &stride);
    for (int64_t t = 0; t < 9 * c; ++t)
      store<W>(block + t * stride,
               load<W>(kernel + t * layer.features + o, layer.features - o));
  }
  for (int64_t b = 0; b < layer.batch; ++b) {
    pad<0>(layer, x + b * layer.height * layer.width * c, padded);
    for (int64_t o = 0; o < layer.features; o += 2 * W) {
      const float* block = kernels + o * 9 * c;
      if (layer.features - o > W)
        convolve_image<W, 2>(layer, padded, block, bias, b, o, out, chosen);
      else
        convolve_image<W, 1>(layer, padded, block, bias, b, o, out, chosen);
    }
  }
}

// Returns the layer's output and, if asked, where the gradient of each goes.
template <int W>
INLINE void forward(const Layer& layer, const float* x, const float* kernel,
                    const float* bias, float* out, uint8_t* chosen) {
  if (layer.channels <= kFewChannels)
    convolve_directly<W>(layer, x, kernel, bias, out, chosen);
  else
    convolve_by_winograd<W>(layer, x, kernel, bias, out, chosen);
}

// A gradient that ReLU and pool let through, and the offset of what it is multiplied by.
struct Entry {
  int32_t offset;
  float grad;
};

// The gradient of one channel's taps, [9], and a vector of features: for each cell the
// 16 pixels of its tile, each for all of the up to four outputs that see it.
template <int W, bool pool>
INLINE void correlate(const Layer& layer, const float* padded, const uint8_t* chosen,
                      const float* grad, int64_t o, Vec<W> (&sums)[9]) {
  constexpr int outputs = pool ? 2 : 1, seen = outputs + 2;
  int64_t c = layer.channels, line = layer.padded_width() * c, n = layer.features - o;
  for (int64_t i = 0; i < layer.out_height(); ++i)
    for (int64_t j = 0; j < layer.out_width(); ++j) {
      int64_t at = (i * layer.out_width() + j) * layer.features + o;
      const float* tile = padded + outputs * (i * line + j * c);
      Vec<W> g = load<W>(grad + at, n), of[outputs * outputs];
      Ints<W> pixel = load_bytes<W>(chosen + at, n);
#pragma GCC unroll 4
      for (int k = 0; k < outputs * outputs; ++k) of[k] = pixel == k ? g : Vec<W>{};
#pragma GCC unroll 4
      for (int y = 0; y < seen; ++y)
#pragma GCC unroll 4
        for (int z = 0; z < seen; ++z) {
          float value = tile[y * line + z * c];
#pragma GCC unroll 4
          for (int k = 0; k < outputs * outputs; ++k) {
            int up = y - k / 2, left = z - k % 2;
            if (up >= 0 && up < 3 && left >= 0 && left < 3)
              sums[3 * up + left] += value * of[k];
          }
        }
    }
}

template <int W>
INLINE void kernel_gradient_of_few(const Layer& layer, const float* x,
                                   const uint8_t* chosen, const float* grad,
                                   float* result) {
  int64_t c = layer.channels, size = layer.padded_height() * layer.padded_width() * c;
  int64_t outputs = layer.out_height() * layer.out_width() * layer.features;
  float* padded = room<0>(size);
  std::fill_n(padded, size, 0.f);
  std::fill_n(result, layer.taps(), 0.f);
  for (int64_t b = 0; b < layer.batch; ++b, chosen += outputs, grad += outputs) {
    pad<0>(layer, x + b * layer.height * layer.width * c, padded);
    for (int64_t o = 0; o < layer.features; o += W)
      for (int64_t d = 0; d < c; ++d) {
        // A sum for each image, added up then: it rounds less.
        Vec<W> sums[9] = {};
        if (layer.pool)
          correlate<W, true>(layer, padded + d, chosen, grad, o, sums);
        else
          correlate<W, false>(layer, padded + d, chosen, grad, o, sums);
        for (int t = 0; t < 9; ++t) {
          float* to = result + (t * c + d) * layer.features + o;
          int64_t n = layer.features - o;
          store<W>(to, load<W>(to, n) + sums[t], n);
        }
      }
  }
}

template <int W>
INLINE void kernel_gradient_of_many(const Layer& layer, const float* x,
                                    const uint8_t* chosen, const float* grad,
                                    float* result) {
  int64_t c = layer.channels, features = layer.features;
  int64_t blocks = (c + W - 1) / W, line = layer.padded_width() * W;
  int64_t size = layer.padded_height() * line;
  int64_t outputs = layer.out_height() * layer.out_width(), most = outputs + 1;
  float* padded = room<0>(blocks * size);
  float* totals = room<1>(blocks * features * 9 * W);
  Entry* entries = reinterpret_cast<Entry*>(room<2>(2 * features * most));
  int32_t* counts = reinterpret_cast<int32_t*>(room<3>(features));
  std::fill_n(padded, blocks * size, 0.f);
  std::fill_n(totals, blocks * features * 9 * W, 0.f);
  int32_t pixels[4] = {0, W, int32_t(line), int32_t(line) + W};
  for (int64_t b = 0; b < layer.batch; ++b) {
    pad<W>(layer, x + b * layer.height * layer.width * c, padded);
    std::fill_n(counts, features, 0);
    for (int64_t i = 0; i < layer.out_height(); ++i)
      for (int64_t j = 0; j < layer.out_width(); ++j) {
        int32_t corner = int32_t((layer.pool ? 2 : 1) * (i * line + j * W));
        Entry* own = entries;
        for (int64_t o = 0; o < features; ++o, ++chosen, ++grad, own += most) {
          // Whatever goes nowhere is written over by the next.
          own[counts[o]] = {corner + pixels[*chosen % 4], *grad};
          counts[o] += *chosen < kNowhere;
        }
      }
    float* total = totals;
    for (int64_t block = 0; block < blocks; ++block)
      for (int64_t o = 0; o < features; ++o, total += 9 * W) {
        Vec<W> sums[9] = {};
        const Entry* own = entries + o * most;
        for (const Entry* end = own + counts[o]; own < end; ++own) {
          const float* seen = padded + block * size + own->offset;
#pragma GCC unroll 9
          for (int t = 0; t < 9; ++t)
            sums[t] += own->grad * load<W>(seen + t / 3 * line + t % 3 * W);
        }
#pragma GCC unroll 9
        for (int t = 0; t < 9; ++t)
          store<W>(total + t * W, load<W>(total + t * W) + sums[t]);
      }
  }
  for (int64_t t = 0; t < 9; ++t)
    for (int64_t d = 0; d < c; ++d)
      for (int64_t o = 0; o < features; ++o)
        *result++ = totals[((d / W * features + o) * 9 + t) * W + d % W];
}

template <int W>
INLINE void bias_gradient(const Layer& layer, const uint8_t* chosen, const float* grad,
                          float* result) {
  int64_t pixels = layer.out_height() * layer.out_width();
  for (int64_t o = 0; o < layer.features; o += W) {
    int64_t n = layer.features - o, at = o;
    Vec<W> total = {};
    for (int64_t b = 0; b < layer.batch; ++b) {
      Vec<W> sum = {};
      for (int64_t i = 0; i < pixels; ++i, at += layer.features) {
        Vec<W> g = load<W>(grad + at, n);
        sum += load_bytes<W>(chosen + at, n) < kNowhere ? g : Vec<W>{};
      }
      total += sum;
    }
    store<W>(result + o, total, n);
  }
}

// Returns the gradients of kernel and bias from that of the output.
template <int W>
INLINE void kernel_gradient(const Layer& layer, const float* x, const uint8_t* chosen,
                            const float* grad, float* kernel, float* bias) {
  if (layer.channels <= kFewChannels)
    kernel_gradient_of_few<W>(layer, x, chosen, grad, kernel);
  else
    kernel_gradient_of_many<W>(layer, x, chosen, grad, kernel);
  bias_gradient<W>(layer, chosen, grad, bias);
}

// Returns the gradient of the input from that of the output.
template <int W>
INLINE void input_gradient(const Layer& layer, const float* kernel, const uint8_t* chosen,
                           const float* grad, float* result) {
  int64_t c = layer.channels, features = layer.features;
  int64_t blocks = (c + W - 1) / W, line = layer.padded_width() * W;
  int64_t size = layer.padded_height() * line, most = features + 1;
  int64_t outputs = layer.out_height() * layer.out_width();
  // Pixels to which an output's gradient may go, each with its own list.
  int64_t pixels = layer.pool ? 4 : 1;
  float* padded = room<0>(size);
  float* taps = room<1>(blocks * features * 9 * W);
  Entry* entries = reinterpret_cast<Entry*>(room<2>(2 * outputs * pixels * most));
  uint64_t* counts = reinterpret_cast<uint64_t*>(room<3>(2 * outputs));
  std::fill_n(taps, blocks * features * 9 * W, 0.f);
  for (int64_t t = 0; t < 9; ++t)
    for (int64_t d = 0; d < c; ++d)
      for (int64_t o = 0; o < features; ++o)
        taps[((d / W * features + o) * 9 + t) * W + d % W] = *kernel++;
  for (int64_t b = 0; b < layer.batch; ++b) {
    for (int64_t i = 0; i < outputs; ++i) {
      Entry* own = entries + i * pixels * most;
      // Four counts of 16 bits, which stay in a register.
      uint64_t count = 0;
      for (int64_t o = 0; o < features; ++o, ++chosen, ++grad) {
        int pixel = *chosen % 4, shift = 16 * pixel;
        own[pixel * most + (count >> shift & 0xffff)] = {int32_t(o * 9 * W), *grad};
        count += uint64_t(*chosen < kNowhere) << shift;
      }
      counts[i] = count;
    }
    float* image = result + b * layer.height * layer.width * c;
    for (int64_t block = 0; block < blocks; ++block) {
      const float* of_block = taps + block * features * 9 * W;
      const Entry* own = entries;
      std::fill_n(padded, size, 0.f);
      for (int64_t i = 0; i < outputs; ++i)
        for (int64_t k = 0; k < pixels; ++k) {
          int64_t row = i / layer.out_width(), column = i % layer.out_width();
          if (layer.pool) row = 2 * row + k / 2, column = 2 * column + k % 2;
          float* to = padded + row * line + column * W;
          Vec<W> sums[9];
#pragma GCC unroll 9
          for (int t = 0; t < 9; ++t) sums[t] = load<W>(to + t / 3 * line + t % 3 * W);
          const Entry* next = own + most;
          for (const Entry* end = own + (counts[i] >> 16 * k & 0xffff); own < end; ++own) {
            const float* tap = of_block + own->offset;
#pragma GCC unroll 9
            for (int t = 0; t < 9; ++t) sums[t] += own->grad * load<W>(tap + t * W);
          }
#pragma GCC unroll 9
          for (int t = 0; t < 9; ++t) store<W>(to + t / 3 * line + t % 3 * W, sums[t]);
          own = next;
        }
      for (int64_t i = 0; i < layer.height; ++i)
        for (int64_t j = 0; j < layer.width; ++j)
          store<W>(image + (i * layer.width + j) * c + block * W,
                   load<W>(padded + (i + 1) * line + (j + 1) * W), c - block * W);
    }
  }
}

// Floats in a vector of the widest instructions that processor and system have. Not by
// `__builtin_cpu_supports`, for which Zig's library has no answer.
int widest() {
#ifdef __x86_64__
  uint32_t a, b, c, d, kept, high;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 4;
  bool fma = c & bit_FMA;
  // Of which registers the system keeps the whole when it changes threads.
  asm("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 4;
  uint32_t wide = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  if ((kept & 0xe6) == 0xe6 && (b & wide) == wide) return 16;
  if ((kept & 6) == 6 && b & bit_AVX2 && fma) return 8;
#endif
  return 4;
}
std::atomic<int> vector_width{widest()};

// Compiles a function for each set of instructions, and calls the one for `vector_width`.
#ifdef __x86_64__
#define DISPATCH(NAME, PARAMETERS, ARGUMENTS)                                          \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma"))) void          \
      NAME##_16 PARAMETERS { NAME<16> ARGUMENTS; }                                     \
  __attribute__((target("avx2,fma"))) void NAME##_8 PARAMETERS { NAME<8> ARGUMENTS; }  \
  void NAME##_4 PARAMETERS { NAME<4> ARGUMENTS; }                                      \
  void run_##NAME PARAMETERS {                                                         \
    int w = vector_width;                                                              \
    w == 16 ? NAME##_16 ARGUMENTS : w == 8 ? NAME##_8 ARGUMENTS : NAME##_4 ARGUMENTS;  \
  }
#else
#define DISPATCH(NAME, PARAMETERS, ARGUMENTS) \
  void run_##NAME PARAMETERS { NAME<4> ARGUMENTS; }
#endif

DISPATCH(forward,
         (const Layer& layer, const float* x, const float* kernel, const float* bias,
          float* out, uint8_t* chosen),
         (layer, x, kernel, bias, out, chosen))
DISPATCH(kernel_gradient,
         (const Layer& layer, const float* x, const uint8_t* chosen, const float* grad,
          float* kernel, float* bias),
         (layer, x, chosen, grad, kernel, bias))
DISPATCH(input_gradient,
         (const Layer& layer, const float* kernel, const uint8_t* chosen,
          const float* grad, float* result),
         (layer, kernel, chosen, grad, result))

// Arrays of several layers, as `jax.vmap` makes them, have more dimensions in front.
namespace ffi = xla::ffi;
using Floats = ffi::Buffer<ffi::F32>;
using Bytes = ffi::Buffer<ffi::U8>;

Layer layer_of(ffi::Span<const int64_t> x, int64_t features, bool relu, bool pool) {
  size_t n = x.size();
  return {x[n - 4], x[n - 3], x[n - 2], x[n - 1], features, relu, pool};
}

// Calls a function for each layer.
template <class Function>
ffi::Error for_each(ffi::Span<const int64_t> x, Function call) {
  int64_t count = 1;
  for (size_t i = 0; i + 4 < x.size(); ++i) count *= x[i];
  try {
    for (int64_t i = 0; i < count; ++i) call(i);
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for a convolution");
  }
  return ffi::Error::Success();
}

ffi::Error Forward(bool relu, bool pool, Floats x, Floats kernel, Floats bias,
                   ffi::Result<Floats> out, ffi::Result<Bytes> chosen) {
  Layer layer = layer_of(x.dimensions(), bias.dimensions().back(), relu, pool);
  bool keep = chosen->element_count() > 0;
  return for_each(x.dimensions(), [&](int64_t i) {
    run_forward(layer, x.typed_data() + i * layer.inputs(),
                kernel.typed_data() + i * layer.taps(),
                bias.typed_data() + i * layer.features,
                out->typed_data() + i * layer.outputs(),
                keep ? chosen->typed_data() + i * layer.outputs() : nullptr);
  });
}

ffi::Error KernelGradient(bool pool, Floats x, Bytes chosen, Floats grad,
                          ffi::Result<Floats> kernel, ffi::Result<Floats> bias) {
  Layer layer = layer_of(x.dimensions(), grad.dimensions().back(), true, pool);
  return for_each(x.dimensions(), [&](int64_t i) {
    run_kernel_gradient(layer, x.typed_data() + i * layer.inputs(),
                        chosen.typed_data() + i * layer.outputs(),
                        grad.typed_data() + i * layer.outputs(),
                        kernel->typed_data() + i * layer.taps(),
                        bias->typed_data() + i * layer.features);
  });
}

ffi::Error InputGradient(bool pool, Floats kernel, Bytes chosen, Floats grad,
                         ffi::Result<Floats> result) {
  Layer layer = layer_of(result->dimensions(), grad.dimensions().back(), true, pool);
  return for_each(result->dimensions(), [&](int64_t i) {
    run_input_gradient(layer, kernel.typed_data() + i * layer.taps(),
                       chosen.typed_data() + i * layer.outputs(),
                       grad.typed_data() + i * layer.outputs(),
                       result->typed_data() + i * layer.inputs());
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_forward, Forward,
                              ffi::Ffi::Bind()
                                  .Attr<bool>("relu")
                                  .Attr<bool>("pool")
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Bytes>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_kernel_gradient, KernelGradient,
                              ffi::Ffi::Bind()
                                  .Attr<bool>("pool")
                                  .Arg<Floats>()
                                  .Arg<Bytes>()
                                  .Arg<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_input_gradient, InputGradient,
                              ffi::Ffi::Bind()
                                  .Attr<bool>("pool")
                                  .Arg<Floats>()
                                  .Arg<Bytes>()
                                  .Arg<Floats>()
                                  .Ret<Floats>());

// The version of XLA's interface that this was compiled for: of 0.N, N.
extern "C" int ffi_version() { return XLA_FFI_API_MINOR; }

// Uses vectors of so many floats from now on, 0 for the widest, if this processor has
// them; returns how many it uses.
extern "C" int use_vector_width(int wanted) {
  bool known = wanted == 4 || wanted == 8 || wanted == 16;
  if (wanted == 0) vector_width = widest();
  if (known && wanted <= widest()) vector_width = wanted;
  return vector_width;
}
