/* What follows is the same for all networks. */

/* Returns y / 2^shift, rounded down: C99 leaves shifts of negative numbers open. */
static int64_t shifted(int64_t y, int shift) {
  int64_t part = (int64_t)1 << shift;
  return y >= 0 ? y / part : -((part - 1 - y) / part);
}

static int32_t limited(int64_t y, int32_t low, int32_t high) {
  return y < low ? low : y > high ? high : (int32_t)y;
}

/* One sum: a kernel at one place. */
static int32_t place(const struct conv *k, const uint8_t *in, int row, int column,
                     int feature) {
  int per = k->c / k->groups;
  int first = feature / (k->features / k->groups) * per;
  const int8_t *w = k->kernel + (int32_t)feature * k->height * k->width * per;
  int32_t sum = 0;
  for (int y = 0; y < k->height; y++) {
    int r = row * k->down - k->top + y;
    for (int x = 0; x < k->width; x++, w += per) {
      int c = column * k->across - k->left + x;
      if (r < 0 || r >= k->h || c < 0 || c >= k->w) continue;
      const uint8_t *p = in + ((int32_t)r * k->w + c) * k->c + first;
      for (int i = 0; i < per; i++) sum += w[i] * (p[i] - k->zero);
    }
  }
  return sum;
}

/* A convolution, the maximum over a pool, numbers per channel, and limits. */
static void convolve(const struct conv *k, const uint8_t *in, uint8_t *out,
                     int32_t *logits) {
  int32_t at = 0;
  for (int row = 0; row < k->rows; row++)
    for (int column = 0; column < k->columns; column++)
      for (int feature = 0; feature < k->features; feature++, at++) {
        int32_t most = INT32_MIN;
        for (int y = 0; y < k->pool_height; y++)
          for (int x = 0; x < k->pool_width; x++) {
            int r = row * k->pool_down - k->pool_top + y;
            int c = column * k->pool_across - k->pool_left + x;
            if (r < 0 || r >= k->places_down || c < 0 || c >= k->places_across) continue;
            int32_t sum = place(k, in, r, c, feature);
            if (sum > most) most = sum;
          }
        int64_t y = (int64_t)most * k->multiplier[feature] + k->offset[feature];
        int32_t made = limited(shifted(y, k->shift[feature]), k->low, k->high);
        if (logits) logits[at] = made;
        else out[at] = (uint8_t)made;
      }
}

#if SUMS
/* The sum of two layers of `count` numbers. */
static void add(const struct sum *k, int32_t count, const uint8_t *a, const uint8_t *b,
                uint8_t *out) {
  for (int32_t i = 0; i < count; i++) {
    int64_t y = (int64_t)(a[i] - k->zero[0]) * k->multiplier[0] +
                (int64_t)(b[i] - k->zero[1]) * k->multiplier[1] + k->offset;
    out[i] = (uint8_t)limited(shifted(y, k->shift), k->low, k->high);
  }
}
#endif

#if CHOICES
/* Channels of some layers: the c-th is the channel `channel[c]` of the `source[c]`-th. */
static void choose(const struct choice *k, const uint8_t *const *from, uint8_t *out) {
  for (int32_t i = 0; i < k->pixels; i++)
    for (int c = 0; c < k->features; c++) {
      int s = k->source[c];
      int32_t in = from[s][i * k->channels[s] + k->channel[c]] - k->zero[s];
      int64_t y = (int64_t)in * k->multiplier[s] + k->offset[c];
      *out++ = (uint8_t)limited(shifted(y, k->shift[c]), 0, 255);
    }
}
#endif

/* Adds a network's shares of certainty, of 65535. */
static void add_shares(const int32_t *logits, uint32_t *total) {
  int32_t most = logits[0];
  uint32_t powers[CLASSES], sum = 0;
  for (int k = 1; k < CLASSES; k++)
    if (logits[k] > most) most = logits[k];
  for (int k = 0; k < CLASSES; k++) {
    uint32_t behind = ((uint32_t)most - (uint32_t)logits[k]) / POWER_STEP;
    powers[k] = behind < POWERS ? POWER[behind] : 0;
    sum += powers[k];
  }
  for (int k = 0; k < CLASSES; k++)
    total[k] += (uint32_t)((uint64_t)powers[k] * 65535u / sum);
}

int digit_classify(const uint8_t image[DIGIT_PIXELS], uint8_t confidence[DIGIT_CLASSES]) {
  int32_t logits[CLASSES];
  uint32_t total[CLASSES] = {0}, ink = 0;
  int best = 0;
  for (int i = 0; i < DIGIT_PIXELS; i++) ink += INK_IS_DARK ? 255u - image[i] : image[i];
  for (int network = 0; network < NETWORKS; network++) {
    RUN[network](image, logits);
    add_shares(logits, total);
  }
  for (int k = 0; k < CLASSES; k++) {
    confidence[k] =
        (uint8_t)((total[k] * 510u + 65535u * NETWORKS) / (2u * 65535u * NETWORKS));
    if (total[k] > total[best]) best = k;
  }
  if (ink < LEAST_INK || ink > MOST_INK || total[best] < LEAST_SHARE) return -1;
  return best;
}

#ifndef DIGIT_NO_MAIN
#include <stdio.h>
#include <stdlib.h>

static uint32_t checksum(uint32_t sum, const int8_t *weights, int32_t count) {
  for (int32_t i = 0; i < count; i++) sum = (sum ^ (uint8_t)weights[i]) * 16777619u;
  return sum;
}

/* Reads a PGM (P5, 8 bits); what does not begin so is raw bytes. Returns 1, or 0. */
static int read_image(FILE *file, uint8_t *image) {
  int width, height, most, first = getc(file);
  if (first == EOF) return 0;
  int second = getc(file);
  size_t had = 0;
  if (first == 'P' && second == '5') {
    if (fscanf(file, "%d %d %d", &width, &height, &most) != 3 || most != 255 ||
        (long)width * height != DIGIT_PIXELS || width != DIGIT_WIDTH)
      return -1;
    (void)getc(file);
  } else {
    image[had++] = (uint8_t)first;
    if (second != EOF) image[had++] = (uint8_t)second;
  }
  return fread(image + had, 1, DIGIT_PIXELS - had, file) == DIGIT_PIXELS - had ? 1 : -1;
}

int main(int count, char **names) {
  static uint8_t image[DIGIT_PIXELS];
  uint8_t confidence[DIGIT_CLASSES];
  uint32_t sum = 2166136261u;
  FILE *file = count > 1 ? fopen(names[1], "rb") : stdin;
  if (!file) return fprintf(stderr, "%s cannot be opened\n", names[1]), 2;
  for (size_t i = 0; i < sizeof WEIGHTS / sizeof *WEIGHTS; i++)
    sum = checksum(sum, WEIGHTS[i].kernel, WEIGHTS[i].size);
  if (sum != WEIGHTS_CHECKSUM) return fputs("the weights are damaged\n", stderr), 2;
  for (int state; (state = read_image(file, image)) != 0;) {
    if (state < 0)
      return fprintf(stderr, "expected a PGM (P5, maxval 255) or raw bytes, %d x %d\n",
                     DIGIT_HEIGHT, DIGIT_WIDTH), 2;
    int class = digit_classify(image, confidence);
    printf("%s", class < 0 ? "none" : NAMES[class]);
    for (int k = 0; k < DIGIT_CLASSES; k++) printf(" %d", confidence[k]);
    putchar('\n');
  }
  return 0;
}
#endif
