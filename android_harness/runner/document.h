/* The report of a run that ended well; README.md names the fields. */
#ifndef DEPLOY_BENCH_DOCUMENT_H
#define DEPLOY_BENCH_DOCUMENT_H

#include "engine.h"
#include "readings.h"
#include "sha256.h"

struct measurement {
  struct memory before_load, after_init, after_run;
  int64_t first_ns;
  size_t warmup_count;
  int64_t warmup_ns;
  size_t runs;
  int64_t *latency_ns; /* one per run */
  int64_t wall_ns;
  struct usage used; /* by the timed loop */
  size_t samples;    /* 0: random input */
  char engine_sha256[SHA256_HEX];
  uint64_t engine_bytes;
};

void write_report(FILE *to, const struct options *options, const struct engine *engine,
                  const struct measurement *measured);

#endif
