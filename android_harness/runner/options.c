#include "options.h"

#include "fail.h"

static const double MAX_SECONDS = 1e6;

static _Noreturn void refuse(const char *name, const char *value, const char *expected) {
  fail(STAGE_ARGUMENTS, NO_STATUS, "%s=%s: give %s", name, value, expected);
}

static uint64_t parse_number(const char *name, const char *value, uint64_t low, uint64_t high) {
  char *end;
  char expected[80];
  errno = 0;
  unsigned long long number = strtoull(value, &end, 10);
  bool is_whole = *value >= '0' && *value <= '9' && *end == '\0' && errno == 0;
  if (is_whole && number >= low && number <= high) return number;
  snprintf(expected, sizeof expected, "a whole number between %llu and %llu",
           (unsigned long long)low, (unsigned long long)high);
  refuse(name, value, expected);
}

static int64_t parse_seconds(const char *name, const char *value) {
  char *end;
  double seconds = strtod(value, &end);
  /* Written so that NaN, which fails every comparison, is refused too. */
  if (end == value || *end != '\0' || !(seconds >= 0.0 && seconds <= MAX_SECONDS))
    refuse(name, value, "seconds between 0 and 1000000");
  return (int64_t)(seconds * 1e9);
}

static cpu_set_t parse_cpus(const char *name, const char *value) {
  const char *expected = "CPU numbers below 1024 with commas between them, like 0,1";
  const char *rest = value;
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  for (;;) {
    char *end;
    unsigned long cpu = strtoul(rest, &end, 10);
    if (*rest < '0' || *rest > '9' || cpu >= CPU_SETSIZE) refuse(name, value, expected);
    CPU_SET(cpu, &cpus);
    if (*end == '\0') return cpus;
    if (*end != ',') refuse(name, value, expected);
    rest = end + 1;
  }
}

static void add_path(const char *name, const char *value, const char **paths, size_t *count) {
  if (*value == '\0') refuse(name, value, "a path");
  if (*count == MAX_TENSORS) refuse(name, value, "at most 64 paths");
  paths[(*count)++] = value;
}

/* Whether `argument` is "name=value"; then `value` points behind the sign. */
static bool is_option(const char *argument, const char *name, const char **value) {
  size_t length = strlen(name);
  if (strncmp(argument, name, length) != 0 || argument[length] != '=') return false;
  *value = argument + length + 1;
  return true;
}

static bool take_path(struct options *options, const char *argument) {
  const char *value;
  if (is_option(argument, "--model", &value))
    options->model = value;
  else if (is_option(argument, "--engine", &value))
    options->engine = value;
  else if (is_option(argument, "--input", &value))
    add_path("--input", value, options->inputs, &options->input_count);
  else if (is_option(argument, "--output", &value))
    add_path("--output", value, options->outputs, &options->output_count);
  else
    return false;
  return true;
}

static bool take_amount(struct options *options, const char *argument) {
  const char *value;
  if (is_option(argument, "--warmup-count", &value))
    options->warmup_count = parse_number("--warmup-count", value, 0, MAX_TIMED_RUNS);
  else if (is_option(argument, "--min-runs", &value))
    options->min_runs = parse_number("--min-runs", value, 0, MAX_TIMED_RUNS);
  else if (is_option(argument, "--max-runs", &value))
    options->max_runs = parse_number("--max-runs", value, 1, MAX_TIMED_RUNS);
  else if (is_option(argument, "--warmup-s", &value))
    options->warmup_ns = parse_seconds("--warmup-s", value);
  else if (is_option(argument, "--min-s", &value))
    options->min_ns = parse_seconds("--min-s", value);
  else if (is_option(argument, "--max-s", &value))
    options->max_ns = parse_seconds("--max-s", value);
  else
    return false;
  return true;
}

static bool take_choice(struct options *options, const char *argument) {
  const char *value;
  if (is_option(argument, "--threads", &value)) {
    options->threads = (int)parse_number("--threads", value, 1, MAX_THREADS);
  } else if (is_option(argument, "--seed", &value)) {
    options->seed = parse_number("--seed", value, 0, UINT64_MAX);
  } else if (is_option(argument, "--affinity", &value)) {
    options->affinity = parse_cpus("--affinity", value);
    options->pinned = true;
  } else if (strcmp(argument, "--no-pss") == 0) {
    options->pss = false;
  } else {
    return false;
  }
  return true;
}

static struct options defaults(void) {
  struct options options;
  memset(&options, 0, sizeof options);
  options.threads = 1;
  options.warmup_count = 10;
  options.warmup_ns = 300000000;
  options.min_runs = 50;
  options.min_ns = 1000000000;
  options.max_runs = 20000;
  options.max_ns = 60000000000;
  options.seed = 1;
  options.pss = true;
  return options;
}

struct options parse_options(int argc, char **argv) {
  struct options options = defaults();
  for (int i = 1; i < argc; i++) {
    if (take_path(&options, argv[i]) || take_amount(&options, argv[i])) continue;
    if (take_choice(&options, argv[i])) continue;
    fail(STAGE_ARGUMENTS, NO_STATUS,
         "unknown option %s; known are --model= --engine= --threads= --warmup-count= --warmup-s= "
         "--min-runs= --min-s= --max-runs= --max-s= --input= --output= --affinity= --seed= "
         "--no-pss",
         argv[i]);
  }
  if (!options.model || !options.engine)
    fail(STAGE_ARGUMENTS, NO_STATUS, "give both --model=FILE.tflite and --engine=libLiteRt.so");
  return options;
}
