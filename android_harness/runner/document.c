#include "document.h"

#include "json.h"

/* Source: TfLiteType in tflite/core/c/c_api_types.h, whose numbers LiteRtElementType keeps. */
static const char *const TYPE_NAMES[] = {
    "none", "float32",   "int32",  "uint8", "int64",   "string",  "bool",
    "int16", "complex64", "int8", "float16", "float64", "complex128", "uint64",
    "resource", "variant", "uint32", "uint16", "int4", "bfloat16"};

static void put_key(FILE *to, const char *key) { fprintf(to, ",\"%s\":", key); }

static void put_text(FILE *to, const char *key, const char *value) {
  put_key(to, key);
  json_string(to, value);
}

static void put_count(FILE *to, const char *key, int64_t value) {
  put_key(to, key);
  json_count(to, value);
}

static void put_flag(FILE *to, const char *key, bool value) {
  put_key(to, key);
  fputs(value ? "true" : "false", to);
}

static void put_type(FILE *to, int32_t type) {
  char unknown[24];
  snprintf(unknown, sizeof unknown, "type-%d", type);
  bool known = type >= 0 && (size_t)type < sizeof TYPE_NAMES / sizeof *TYPE_NAMES;
  put_text(to, "type", known ? TYPE_NAMES[type] : unknown);
}

static void put_tensor(FILE *to, const struct tensor *tensor) {
  fprintf(to, "{\"name\":");
  json_string(to, tensor->name);
  put_type(to, tensor->type.element_type);
  put_key(to, "shape");
  fputc('[', to);
  for (int i = 0; i < rank_of(tensor); i++)
    fprintf(to, "%s%d", i ? "," : "", tensor->type.layout.dimensions[i]);
  fputc(']', to);
  put_count(to, "bytes", (int64_t)tensor->bytes);
  fputc('}', to);
}

static void put_tensors(FILE *to, const char *key, const struct tensors *tensors) {
  put_key(to, key);
  fputc('[', to);
  for (size_t i = 0; i < tensors->count; i++) {
    if (i) fputc(',', to);
    put_tensor(to, &tensors->items[i]);
  }
  fputc(']', to);
}

static void put_engine(FILE *to, const struct engine *engine, const struct measurement *measured) {
  put_key(to, "engine");
  fprintf(to, "{\"kind\":\"litert\"");
  put_text(to, "path", engine->path);
  put_text(to, "sha256", measured->engine_sha256);
  put_count(to, "bytes", (int64_t)measured->engine_bytes);
  fputc('}', to);
  put_key(to, "accelerators");
  fputc('[', to);
  for (size_t i = 0; i < engine->accelerator_count; i++) {
    if (i) fputc(',', to);
    json_string(to, engine->accelerators[i]);
  }
  fputc(']', to);
  put_flag(to, "fully_accelerated", engine->fully_accelerated);
}

static void put_machine(FILE *to) {
  struct utsname system;
  cpu_set_t cpus = allowed_cpus();
  uname(&system);
  put_text(to, "machine", system.machine);
  put_text(to, "kernel", system.release);
  put_count(to, "page_bytes", sysconf(_SC_PAGESIZE));
  put_key(to, "cpus_allowed");
  const char *comma = "[";
  for (size_t i = 0; i < CPU_SETSIZE; i++) {
    if (!CPU_ISSET(i, &cpus)) continue;
    fprintf(to, "%s%zu", comma, i);
    comma = ",";
  }
  fputc(']', to);
}

static void put_init(FILE *to, const struct init_times *init) {
  put_key(to, "init_ns");
  fprintf(to, "{\"library\":%lld,\"environment\":%lld,\"model\":%lld,\"compile\":%lld",
          (long long)init->library_ns, (long long)init->environment_ns, (long long)init->model_ns,
          (long long)init->compile_ns);
  put_count(to, "total", init->total_ns);
  fputc('}', to);
}

static void put_latencies(FILE *to, const struct measurement *measured) {
  put_count(to, "first_ns", measured->first_ns);
  put_key(to, "warmup");
  fprintf(to, "{\"count\":%zu", measured->warmup_count);
  put_count(to, "wall_ns", measured->warmup_ns);
  fputc('}', to);
  put_key(to, "latency_ns");
  fputc('[', to);
  for (size_t i = 0; i < measured->runs; i++)
    fprintf(to, "%s%lld", i ? "," : "", (long long)measured->latency_ns[i]);
  fputc(']', to);
}

static void put_used(FILE *to, const struct measurement *measured) {
  const struct usage *used = &measured->used;
  put_key(to, "timed");
  fprintf(to, "{\"wall_ns\":%lld", (long long)measured->wall_ns);
  put_count(to, "cpu_ns", used->cpu_ns);
  put_count(to, "voluntary_switches", used->voluntary_switches);
  put_count(to, "involuntary_switches", used->involuntary_switches);
  put_count(to, "minor_faults", used->minor_faults);
  put_count(to, "major_faults", used->major_faults);
  fputc('}', to);
}

static void put_clock(FILE *to) {
  put_key(to, "clock");
  fprintf(to, "{\"name\":\"CLOCK_MONOTONIC\"");
  put_count(to, "call_ns", clock_call_ns());
  put_count(to, "resolution_ns", clock_resolution_ns());
  fputc('}', to);
}

static void put_memory_point(FILE *to, const char *name, const struct memory *memory) {
  fprintf(to, "\"%s\":{\"rss_kb\":%lld", name, (long long)memory->rss_kb);
  put_count(to, "hwm_kb", memory->hwm_kb);
  put_count(to, "pss_kb", memory->pss_kb);
  put_count(to, "swap_kb", memory->swap_kb);
  fputc('}', to);
}

static void put_memory(FILE *to, const struct measurement *measured) {
  put_key(to, "memory");
  fputc('{', to);
  put_memory_point(to, "before_load", &measured->before_load);
  fputc(',', to);
  put_memory_point(to, "after_init", &measured->after_init);
  fputc(',', to);
  put_memory_point(to, "after_run", &measured->after_run);
  fputc('}', to);
}

void write_report(FILE *to, const struct options *options, const struct engine *engine,
                  const struct measurement *measured) {
  fprintf(to, "{\"schema\":%d", RUNNER_SCHEMA);
  put_text(to, "runner", RUNNER_NAME);
  put_engine(to, engine, measured);
  put_machine(to);
  put_count(to, "threads", options->threads);
  put_text(to, "signature", engine->signature);
  put_tensors(to, "inputs", &engine->inputs);
  put_tensors(to, "outputs", &engine->outputs);
  put_init(to, &engine->init);
  put_latencies(to, measured);
  put_used(to, measured);
  put_clock(to);
  put_memory(to, measured);
  put_count(to, "samples", measured->samples ? (int64_t)measured->samples : -1);
  put_flag(to, "complete", true);
  fputc('}', to);
}
