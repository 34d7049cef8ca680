/* The runner's argument list. Defaults are the same as in options.py. */
#ifndef DEPLOY_BENCH_OPTIONS_H
#define DEPLOY_BENCH_OPTIONS_H

#include "platform.h"

enum { MAX_TENSORS = 64, MAX_THREADS = 256, MAX_TIMED_RUNS = 10000000 };

struct options {
  const char *model;
  const char *engine;
  int threads;
  size_t warmup_count, min_runs, max_runs;
  int64_t warmup_ns, min_ns, max_ns;
  uint64_t seed;
  bool pss;
  bool pinned; /* whether `affinity` was given */
  cpu_set_t affinity;
  size_t input_count, output_count;
  const char *inputs[MAX_TENSORS];
  const char *outputs[MAX_TENSORS];
};

/* Reads argv; ends the process with stage "arguments" when it makes no sense. */
struct options parse_options(int argc, char **argv);

#endif
