#include "engine.h"

#include "readings.h"

/* How messages tell a user to get a good library. */
#define REBUILD "build the bundle again (python -m android_harness.runner.build)"

/* Source: LiteRtStatus in litert/c/litert_common.h. */
static const char *status_name(LiteRtStatus status) {
  switch (status) {
    case 1: return "invalid argument";
    case 2: return "out of memory";
    case 3: return "runtime failure";
    case 4: return "missing input tensor";
    case 5: return "unsupported";
    case 6: return "not found";
    case 8: return "wrong version";
    case 500: return "file cannot be read";
    case 501: return "not a valid TFLite flatbuffer";
    case 502: return "library cannot be loaded";
    case 503: return "serialization failed";
    case 504: return "compilation failed";
    default: return "unknown status";
  }
}

void check_status(enum stage stage, const char *call, LiteRtStatus status) {
  if (status != LITERT_OK)
    fail(stage, status, "%s: %s; the engine's log on standard error says more", call,
         status_name(status));
}

#define CALL(stage, name, ...) \
  check_status(stage, "LiteRt" #name, engine->api.name(__VA_ARGS__))

static const struct {
  const char *name;
  size_t offset;
} SYMBOLS[] = {
#define ENTRY(result, name, arguments) {"LiteRt" #name, offsetof(struct litert, name)},
    LITERT_FUNCTIONS(ENTRY)
#undef ENTRY
};

static void load_symbols(struct engine *engine, void *library, const char *path) {
  for (size_t i = 0; i < sizeof SYMBOLS / sizeof *SYMBOLS; i++) {
    void *symbol = dlsym(library, SYMBOLS[i].name);
    if (!symbol)
      fail(STAGE_LIBRARY, NO_STATUS,
           "%s has no %s: it is not the LiteRT runtime; give libLiteRt.so of ai-edge-litert 2.1.3 "
           "or later, or " REBUILD,
           path, SYMBOLS[i].name);
    /* C has no cast from an object pointer to a function pointer; POSIX says the bits are equal. */
    memcpy((char *)&engine->api + SYMBOLS[i].offset, &symbol, sizeof symbol);
  }
}

/* The file the code came from, which the search path may have chosen. */
static const char *loaded_path(void *library, const char *asked) {
  Dl_info info;
  void *symbol = dlsym(library, SYMBOLS[0].name);
  return dladdr(symbol, &info) && info.dli_fname ? info.dli_fname : asked;
}

static void *load_library(struct engine *engine, const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    fail(STAGE_LIBRARY, NO_STATUS,
         "the engine cannot be loaded: %s; start the runner through the loader of its bundle, from "
         "the bundle's directory, or " REBUILD,
         dlerror());
  /* Until 2.1.2 options were structs, passed through this function; since 2.1.3 they are text. */
  if (dlsym(library, "LiteRtCreateCpuOptions"))
    fail(STAGE_LIBRARY, NO_STATUS,
         "%s is a LiteRT older than 2.1.3, whose options are not understood; install "
         "ai-edge-litert 2.1.3 or later and " REBUILD,
         path);
  load_symbols(engine, library, path);
  engine->path = loaded_path(library, path);
  return library;
}

static void create_environment(struct engine *engine) {
  /* Only the CPU is registered: an accelerator that is there could otherwise take the model. */
  LiteRtEnvOption only_cpu;
  memset(&only_cpu, 0, sizeof only_cpu);
  only_cpu.tag = LITERT_ENV_AUTO_REGISTER_ACCELERATORS;
  only_cpu.value.type = LITERT_ANY_INTEGER;
  only_cpu.value.value.integer = LITERT_ACCELERATOR_CPU;
  CALL(STAGE_ENVIRONMENT, CreateEnvironment, 1, &only_cpu, &engine->environment);
}

static void list_accelerators(struct engine *engine) {
  size_t count = 0;
  CALL(STAGE_ENVIRONMENT, GetNumAccelerators, engine->environment, &count);
  for (size_t i = 0; i < count && i < MAX_ACCELERATORS; i++) {
    LiteRtAccelerator accelerator;
    CALL(STAGE_ENVIRONMENT, GetAccelerator, engine->environment, i, &accelerator);
    CALL(STAGE_ENVIRONMENT, GetAcceleratorName, accelerator, &engine->accelerators[i]);
    engine->accelerator_count++;
  }
}

/* The engine answers every unreadable file alike; say which it is while it is known. */
static void refuse_unreadable(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file || fgetc(file) == EOF)
    fail(STAGE_MODEL, NO_STATUS, "the model %s cannot be read: %s", path,
         file && !ferror(file) ? "it is empty" : strerror(errno));
  fclose(file);
}

/* LiteRtCreateModelFromFile took no environment before 2.1.6, under the same name; the function
 * CreateModelFromFd came with the change. */
static LiteRtStatus create_model(struct engine *engine, void *library, const char *path) {
  LiteRtStatus (*without_environment)(const char *, LiteRtModel *);
  if (dlsym(library, "LiteRtCreateModelFromFd"))
    return engine->api.CreateModelFromFile(engine->environment, path, &engine->model);
  memcpy(&without_environment, &engine->api.CreateModelFromFile, sizeof without_environment);
  return without_environment(path, &engine->model);
}

/* CPU options are text in TOML under the identifier of the kernels that read them. */
static LiteRtOptions create_options(struct engine *engine, int threads) {
  LiteRtOptions options;
  LiteRtOpaqueOptions cpu;
  char text[32];
  snprintf(text, sizeof text, "num_threads = %d\n", threads);
  char *owned = strdup(text);
  if (!owned) fail(STAGE_COMPILE, NO_STATUS, "out of memory");
  CALL(STAGE_COMPILE, CreateOptions, &options);
  CALL(STAGE_COMPILE, SetOptionsHardwareAccelerators, options, LITERT_ACCELERATOR_CPU);
  CALL(STAGE_COMPILE, CreateOpaqueOptions, "xnnpack", owned, free, &cpu);
  CALL(STAGE_COMPILE, AddOpaqueOptions, options, cpu);
  return options;
}

static void compile_model(struct engine *engine, int threads) {
  LiteRtOptions options = create_options(engine, threads);
  CALL(STAGE_COMPILE, CreateCompiledModel, engine->environment, engine->model, options,
       &engine->compiled);
}

int rank_of(const struct tensor *tensor) {
  int rank = (int)(tensor->type.layout.rank_and_flags & 0x7F);
  return rank > LITERT_MAX_RANK ? LITERT_MAX_RANK : rank;
}

/* A model exported with an open batch says -1 there, and no buffer can be made from that. */
static bool is_dynamic(const struct tensor *tensor) {
  for (int i = 0; i < rank_of(tensor); i++)
    if (tensor->type.layout.dimensions[i] < 0) return true;
  return false;
}

static void create_buffer(struct engine *engine, struct tensors *tensors, size_t i,
                          LiteRtRequirements requirements) {
  struct tensor *tensor = &tensors->items[i];
  CALL(STAGE_COMPILE, CreateManagedTensorBufferFromRequirements, engine->environment, &tensor->type,
       requirements, &tensors->buffers[i]);
  CALL(STAGE_COMPILE, GetTensorBufferPackedSize, tensors->buffers[i], &tensor->bytes);
  if (tensor->bytes == 0)
    fail(STAGE_COMPILE, NO_STATUS, "tensor %s holds no bytes", tensor->name);
}

static void open_input(struct engine *engine, LiteRtSignature signature, size_t i) {
  struct tensor *tensor = &engine->inputs.items[i];
  LiteRtTensor handle;
  LiteRtRequirements requirements;
  CALL(STAGE_COMPILE, GetSignatureInputTensorByIndex, signature, i, &handle);
  CALL(STAGE_COMPILE, GetSignatureInputName, signature, i, &tensor->name);
  CALL(STAGE_COMPILE, GetRankedTensorType, handle, &tensor->type);
  if (is_dynamic(tensor))
    CALL(STAGE_COMPILE, GetCompiledModelInputTensorLayout, engine->compiled, 0, i,
         &tensor->type.layout);
  CALL(STAGE_COMPILE, GetCompiledModelInputBufferRequirements, engine->compiled, 0, i,
       &requirements);
  create_buffer(engine, &engine->inputs, i, requirements);
}

static void open_output(struct engine *engine, LiteRtSignature signature, size_t i) {
  struct tensor *tensor = &engine->outputs.items[i];
  LiteRtTensor handle;
  LiteRtRequirements requirements;
  CALL(STAGE_COMPILE, GetSignatureOutputTensorByIndex, signature, i, &handle);
  CALL(STAGE_COMPILE, GetSignatureOutputName, signature, i, &tensor->name);
  CALL(STAGE_COMPILE, GetRankedTensorType, handle, &tensor->type);
  if (is_dynamic(tensor)) {
    LiteRtLayout layouts[MAX_TENSORS];
    CALL(STAGE_COMPILE, GetCompiledModelOutputTensorLayouts, engine->compiled, 0,
         engine->outputs.count, layouts, true);
    tensor->type.layout = layouts[i];
  }
  CALL(STAGE_COMPILE, GetCompiledModelOutputBufferRequirements, engine->compiled, 0, i,
       &requirements);
  create_buffer(engine, &engine->outputs, i, requirements);
}

static void open_tensors(struct engine *engine) {
  LiteRtSignature signature;
  CALL(STAGE_COMPILE, GetModelSignature, engine->model, 0, &signature);
  CALL(STAGE_COMPILE, GetSignatureKey, signature, &engine->signature);
  CALL(STAGE_COMPILE, GetNumSignatureInputs, signature, &engine->inputs.count);
  CALL(STAGE_COMPILE, GetNumSignatureOutputs, signature, &engine->outputs.count);
  if (engine->inputs.count > MAX_TENSORS || engine->outputs.count > MAX_TENSORS)
    fail(STAGE_COMPILE, NO_STATUS, "the model has more than %d inputs or outputs", MAX_TENSORS);
  for (size_t i = 0; i < engine->inputs.count; i++) open_input(engine, signature, i);
  for (size_t i = 0; i < engine->outputs.count; i++) open_output(engine, signature, i);
}

void open_engine(struct engine *engine, const struct options *options) {
  memset(engine, 0, sizeof *engine);
  refuse_unreadable(options->model);
  int64_t begin = now_ns();
  void *library = load_library(engine, options->engine);
  int64_t loaded = now_ns();
  create_environment(engine);
  int64_t environment_made = now_ns();
  check_status(STAGE_MODEL, "LiteRtCreateModelFromFile",
               create_model(engine, library, options->model));
  int64_t model_made = now_ns();
  compile_model(engine, options->threads);
  int64_t compiled = now_ns();
  open_tensors(engine);
  engine->init = (struct init_times){.library_ns = loaded - begin,
                                     .environment_ns = environment_made - loaded,
                                     .model_ns = model_made - environment_made,
                                     .compile_ns = compiled - model_made,
                                     .total_ns = now_ns() - begin};
  list_accelerators(engine);
  CALL(STAGE_COMPILE, CompiledModelIsFullyAccelerated, engine->compiled,
       &engine->fully_accelerated);
}
