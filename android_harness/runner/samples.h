/* Inputs from files or from a seed, outputs to files; one sample in memory at a time. */
#ifndef DEPLOY_BENCH_SAMPLES_H
#define DEPLOY_BENCH_SAMPLES_H

#include "engine.h"

struct samples {
  size_t count;    /* samples in each input file; 1 for random input */
  bool from_files; /* false: random input */
  uint64_t seed;
  FILE *inputs[MAX_TENSORS];
  FILE *outputs[MAX_TENSORS];
  size_t output_count;
  const char *const *output_paths;
};

/* Opens the files and checks that they fit the model. */
struct samples open_samples(const struct engine *engine, const struct options *options);

/* Puts sample `index` into the input buffers. */
void load_sample(struct engine *engine, struct samples *samples, size_t index);

/* Appends the output buffers to the output files. */
void save_outputs(struct engine *engine, struct samples *samples);

/* Closes the output files, so that an error of the last write is seen. */
void close_outputs(struct samples *samples);

#endif
