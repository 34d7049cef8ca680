/* Runs one TFLite model on one CPU configuration and writes one JSON document about it.
 *
 * Order of work: memory, engine and model, memory, first inference, outputs of all samples when
 * they are asked for, warm-up, timed loop, memory, and only then whatever would disturb: the
 * engine's sha256 and the document. */
#include "document.h"
#include "samples.h"

static void run_once(struct engine *engine) {
  check_status(STAGE_INVOKE, "LiteRtRunCompiledModel", run_engine(engine));
}

static int64_t time_first(struct engine *engine, struct samples *samples) {
  load_sample(engine, samples, 0);
  int64_t begin = now_ns();
  run_once(engine);
  return now_ns() - begin;
}

/* Every sample once, untimed; the first inference has left the outputs of sample 0. */
static void run_samples(struct engine *engine, struct samples *samples) {
  if (samples->output_count == 0) return;
  save_outputs(engine, samples);
  for (size_t i = 1; i < samples->count; i++) {
    load_sample(engine, samples, i);
    run_once(engine);
    save_outputs(engine, samples);
  }
  close_outputs(samples);
  load_sample(engine, samples, 0);
}

static void warm_up(struct engine *engine, const struct options *options,
                    struct measurement *measured) {
  int64_t begin = now_ns(), past = 0;
  size_t count = 0;
  while ((count < options->warmup_count || past < options->warmup_ns) && past < options->max_ns) {
    run_once(engine);
    count++;
    past = now_ns() - begin;
  }
  measured->warmup_count = count;
  measured->warmup_ns = past;
}

static bool has_enough(const struct options *options, size_t runs, int64_t past_ns) {
  if (runs == 0) return false;
  if (runs >= options->max_runs || past_ns >= options->max_ns) return true;
  return runs >= options->min_runs && past_ns >= options->min_ns;
}

/* Between the two readings of the clock stands the inference and nothing else. */
static void run_timed(struct engine *engine, const struct options *options,
                      struct measurement *measured) {
  struct usage before = read_usage();
  int64_t begin = now_ns(), end = begin;
  size_t runs = 0;
  while (!has_enough(options, runs, end - begin)) {
    int64_t start = now_ns();
    LiteRtStatus status = run_engine(engine);
    end = now_ns();
    check_status(STAGE_INVOKE, "LiteRtRunCompiledModel", status);
    measured->latency_ns[runs++] = end - start;
  }
  measured->wall_ns = now_ns() - begin;
  measured->used = usage_between(before, read_usage());
  measured->runs = runs;
}

/* Touched before memory is read and time is taken: its pages are the runner's, not the model's. */
static int64_t *allocate_latencies(size_t runs) {
  int64_t *latency_ns = malloc(runs * sizeof *latency_ns);
  if (!latency_ns)
    fail(STAGE_ARGUMENTS, NO_STATUS, "no memory for %zu latencies; give a smaller --max-runs", runs);
  memset(latency_ns, 1, runs * sizeof *latency_ns);
  return latency_ns;
}

static void measure(struct engine *engine, const struct options *options,
                    struct measurement *measured) {
  measured->latency_ns = allocate_latencies(options->max_runs);
  measured->before_load = read_memory(options->pss);
  open_engine(engine, options);
  measured->after_init = read_memory(options->pss);
  struct samples samples = open_samples(engine, options);
  measured->samples = samples.from_files ? samples.count : 0;
  measured->first_ns = time_first(engine, &samples);
  run_samples(engine, &samples);
  warm_up(engine, options, measured);
  run_timed(engine, options, measured);
  measured->after_run = read_memory(options->pss);
}

int main(int argc, char **argv) {
  static struct engine engine;
  static struct measurement measured;
  claim_stdout();
  struct options options = parse_options(argc, argv);
  if (options.pinned) pin_to(&options.affinity);
  measure(&engine, &options, &measured);
  if (!sha256_file(engine.path, measured.engine_sha256, &measured.engine_bytes))
    fail(STAGE_LIBRARY, NO_STATUS, "%s was loaded but cannot be read for its sha256", engine.path);
  write_report(document_stream(), &options, &engine, &measured);
  finish(0);
}
