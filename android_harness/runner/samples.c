#include "samples.h"

static FILE *open_input(const char *path, const struct tensor *tensor, size_t *samples) {
  FILE *file = fopen(path, "rb");
  long bytes = -1;
  if (file && fseek(file, 0, SEEK_END) == 0) bytes = ftell(file);
  if (bytes < 0) fail(STAGE_INPUT, NO_STATUS, "%s cannot be read: %s", path, strerror(errno));
  if (bytes == 0 || (size_t)bytes % tensor->bytes != 0)
    fail(STAGE_INPUT, NO_STATUS,
         "%s holds %ld bytes; input %s takes a whole number of samples of %zu bytes", path, bytes,
         tensor->name, tensor->bytes);
  *samples = (size_t)bytes / tensor->bytes;
  return file;
}

static void open_inputs(struct samples *samples, const struct engine *engine,
                        const struct options *options) {
  for (size_t i = 0; i < options->input_count; i++) {
    size_t count;
    samples->inputs[i] = open_input(options->inputs[i], &engine->inputs.items[i], &count);
    if (i > 0 && count != samples->count)
      fail(STAGE_INPUT, NO_STATUS, "%s holds %zu samples, the file before it %zu",
           options->inputs[i], count, samples->count);
    samples->count = count;
  }
}

static void open_outputs(struct samples *samples, const struct options *options) {
  samples->output_paths = options->outputs;
  for (size_t i = 0; i < options->output_count; i++) {
    samples->outputs[i] = fopen(options->outputs[i], "wb");
    if (!samples->outputs[i])
      fail(STAGE_OUTPUT, NO_STATUS, "%s cannot be written: %s", options->outputs[i],
           strerror(errno));
    samples->output_count++;
  }
}

struct samples open_samples(const struct engine *engine, const struct options *options) {
  struct samples samples;
  memset(&samples, 0, sizeof samples);
  samples.count = 1;
  samples.seed = options->seed;
  samples.from_files = options->input_count > 0;
  if (samples.from_files && options->input_count != engine->inputs.count)
    fail(STAGE_INPUT, NO_STATUS,
         "the model has %zu inputs, %zu files are given; give one --input for each, in the model's "
         "order, or none for random data",
         engine->inputs.count, options->input_count);
  if (options->output_count > engine->outputs.count)
    fail(STAGE_OUTPUT, NO_STATUS, "the model has %zu outputs, %zu files are given",
         engine->outputs.count, options->output_count);
  open_inputs(&samples, engine, options);
  open_outputs(&samples, options);
  return samples;
}

/* SplitMix64: equal on every machine, so that a seed names the data. Source: Steele, Lea, Flood,
 * "Fast splittable pseudorandom number generators", 2014. */
static uint64_t next_random(uint64_t *state) {
  uint64_t z = *state += 0x9E3779B97F4A7C15;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
  z = (z ^ z >> 27) * 0x94D049BB133111EB;
  return z ^ z >> 31;
}

/* Uniform in [-1, 1), the range networks are trained for. */
static double next_real(uint64_t *state) {
  return (double)(next_random(state) >> 11) / 4503599627370496.0 - 1.0;
}

/* Small, so that an index into an embedding of any size exists. */
static int64_t next_index(uint64_t *state) { return (int64_t)(next_random(state) % 16); }

static void fill_float32(float *to, size_t bytes, uint64_t *state) {
  for (size_t i = 0; i < bytes / sizeof *to; i++) to[i] = (float)next_real(state);
}

static void fill_float64(double *to, size_t bytes, uint64_t *state) {
  for (size_t i = 0; i < bytes / sizeof *to; i++) to[i] = next_real(state);
}

/* [0.5, 1) in halves: any bits would give NaN and infinity, whose arithmetic may be slower. */
static void fill_float16(uint16_t *to, size_t bytes, uint64_t *state) {
  for (size_t i = 0; i < bytes / sizeof *to; i++)
    to[i] = (uint16_t)(0x3800 | (next_random(state) & 0x3FF));
}

static void fill_int32(int32_t *to, size_t bytes, uint64_t *state) {
  for (size_t i = 0; i < bytes / sizeof *to; i++) to[i] = (int32_t)next_index(state);
}

static void fill_int64(int64_t *to, size_t bytes, uint64_t *state) {
  for (size_t i = 0; i < bytes / sizeof *to; i++) to[i] = next_index(state);
}

static void fill_bytes(uint8_t *to, size_t bytes, uint8_t mask, uint64_t *state) {
  for (size_t i = 0; i < bytes; i++) to[i] = (uint8_t)(next_random(state) >> 24) & mask;
}

static void fill_random(void *to, const struct tensor *tensor, uint64_t seed) {
  switch (tensor->type.element_type) {
    case LITERT_FLOAT32: fill_float32(to, tensor->bytes, &seed); break;
    case LITERT_FLOAT64: fill_float64(to, tensor->bytes, &seed); break;
    case LITERT_FLOAT16: fill_float16(to, tensor->bytes, &seed); break;
    case LITERT_INT32:
    case LITERT_UINT32: fill_int32(to, tensor->bytes, &seed); break;
    case LITERT_INT64:
    case LITERT_UINT64: fill_int64(to, tensor->bytes, &seed); break;
    case LITERT_BOOL: fill_bytes(to, tensor->bytes, 1, &seed); break;
    default: fill_bytes(to, tensor->bytes, 0xFF, &seed);
  }
}

static void read_sample(void *to, const struct tensor *tensor, FILE *file, size_t index) {
  if (fseek(file, (long)(index * tensor->bytes), SEEK_SET) ||
      fread(to, 1, tensor->bytes, file) != tensor->bytes)
    fail(STAGE_INPUT, NO_STATUS, "sample %zu of input %s cannot be read", index, tensor->name);
}

void load_sample(struct engine *engine, struct samples *samples, size_t index) {
  for (size_t i = 0; i < engine->inputs.count; i++) {
    const struct tensor *tensor = &engine->inputs.items[i];
    LiteRtTensorBuffer buffer = engine->inputs.buffers[i];
    void *to;
    check_status(STAGE_INPUT, "LiteRtLockTensorBuffer",
                 engine->api.LockTensorBuffer(buffer, &to, LITERT_LOCK_WRITE));
    if (samples->from_files)
      read_sample(to, tensor, samples->inputs[i], index);
    else
      fill_random(to, tensor, samples->seed + i);
    check_status(STAGE_INPUT, "LiteRtUnlockTensorBuffer", engine->api.UnlockTensorBuffer(buffer));
  }
}

/* The file is left as it is: it may be a device, and only a complete document vouches for it. */
static _Noreturn void refuse_write(const char *path) {
  fail(STAGE_OUTPUT, NO_STATUS, "%s cannot be written: %s; make room and run again", path,
       strerror(errno));
}

void save_outputs(struct engine *engine, struct samples *samples) {
  for (size_t i = 0; i < samples->output_count; i++) {
    size_t bytes = engine->outputs.items[i].bytes;
    LiteRtTensorBuffer buffer = engine->outputs.buffers[i];
    void *from;
    check_status(STAGE_OUTPUT, "LiteRtLockTensorBuffer",
                 engine->api.LockTensorBuffer(buffer, &from, LITERT_LOCK_READ));
    if (fwrite(from, 1, bytes, samples->outputs[i]) != bytes)
      refuse_write(samples->output_paths[i]);
    check_status(STAGE_OUTPUT, "LiteRtUnlockTensorBuffer", engine->api.UnlockTensorBuffer(buffer));
  }
}

void close_outputs(struct samples *samples) {
  for (size_t i = 0; i < samples->output_count; i++)
    if (fclose(samples->outputs[i])) refuse_write(samples->output_paths[i]);
}
