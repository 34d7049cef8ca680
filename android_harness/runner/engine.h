/* The inference engine: libLiteRt.so loaded at run time, one model compiled for the CPU. */
#ifndef DEPLOY_BENCH_ENGINE_H
#define DEPLOY_BENCH_ENGINE_H

#include "fail.h"
#include "litert_abi.h"
#include "options.h"

enum { MAX_ACCELERATORS = 8 };

struct litert {
#define MEMBER(result, name, arguments) result(*name) arguments;
  LITERT_FUNCTIONS(MEMBER)
#undef MEMBER
};

struct tensor {
  const char *name;
  LiteRtRankedTensorType type;
  size_t bytes;
};

struct tensors {
  size_t count;
  struct tensor items[MAX_TENSORS];
  LiteRtTensorBuffer buffers[MAX_TENSORS]; /* apart, because a run takes them as one array */
};

struct init_times {
  int64_t library_ns, environment_ns, model_ns, compile_ns, total_ns;
};

struct engine {
  struct litert api;
  const char *path; /* of the file that is in memory */
  LiteRtEnvironment environment;
  LiteRtModel model;
  LiteRtCompiledModel compiled;
  const char *signature;
  const char *accelerators[MAX_ACCELERATORS];
  size_t accelerator_count;
  bool fully_accelerated;
  struct tensors inputs, outputs;
  struct init_times init;
};

/* Loads the library and makes the model ready to run; ends the process when it cannot. */
void open_engine(struct engine *engine, const struct options *options);

/* One inference of the first signature; LITERT_OK or the engine's status. */
static inline LiteRtStatus run_engine(struct engine *engine) {
  return engine->api.RunCompiledModel(engine->compiled, 0, engine->inputs.count,
                                      engine->inputs.buffers, engine->outputs.count,
                                      engine->outputs.buffers);
}

/* Ends the process with `stage` unless the status of `call` is LITERT_OK. */
void check_status(enum stage stage, const char *call, LiteRtStatus status);

int rank_of(const struct tensor *tensor);

#endif
