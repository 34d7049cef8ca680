#include "readings.h"

#include "fail.h"

static int64_t read_clock(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int64_t now_ns(void) { return read_clock(CLOCK_MONOTONIC); }

int64_t clock_call_ns(void) {
  enum { CALLS = 1000 };
  int64_t begin = now_ns();
  for (int i = 0; i < CALLS; i++) (void)now_ns();
  return (now_ns() - begin) / CALLS;
}

int64_t clock_resolution_ns(void) {
  struct timespec resolution;
  clock_getres(CLOCK_MONOTONIC, &resolution);
  return (int64_t)resolution.tv_sec * 1000000000 + resolution.tv_nsec;
}

/* The number behind "key:" in a file of /proc, or -1. Source: proc_pid_status(5). */
static int64_t read_field(const char *path, const char *key) {
  char line[256];
  int64_t value = -1;
  size_t length = strlen(key);
  FILE *file = fopen(path, "r");
  if (!file) return -1;
  while (value < 0 && fgets(line, sizeof line, file))
    if (strncmp(line, key, length) == 0 && line[length] == ':')
      value = (int64_t)strtoull(line + length + 1, NULL, 10);
  fclose(file);
  return value;
}

struct memory read_memory(bool with_pss) {
  struct memory memory;
  memory.rss_kb = read_field("/proc/self/status", "VmRSS");
  memory.hwm_kb = read_field("/proc/self/status", "VmHWM");
  memory.swap_kb = read_field("/proc/self/status", "VmSwap");
  memory.pss_kb = with_pss ? read_field("/proc/self/smaps_rollup", "Pss") : -1;
  if (memory.rss_kb < 0 || memory.hwm_kb < 0)
    fail(STAGE_ARGUMENTS, NO_STATUS,
         "VmRSS and VmHWM cannot be read from /proc/self/status; mount /proc where the runner runs");
  return memory;
}

struct usage read_usage(void) {
  struct rusage from;
  struct usage usage;
  getrusage(RUSAGE_SELF, &from);
  usage.cpu_ns = read_clock(CLOCK_PROCESS_CPUTIME_ID);
  usage.voluntary_switches = from.ru_nvcsw;
  usage.involuntary_switches = from.ru_nivcsw;
  usage.minor_faults = from.ru_minflt;
  usage.major_faults = from.ru_majflt;
  return usage;
}

struct usage usage_between(struct usage before, struct usage after) {
  after.cpu_ns -= before.cpu_ns;
  after.voluntary_switches -= before.voluntary_switches;
  after.involuntary_switches -= before.involuntary_switches;
  after.minor_faults -= before.minor_faults;
  after.major_faults -= before.major_faults;
  return after;
}

cpu_set_t allowed_cpus(void) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (sched_getaffinity(0, sizeof cpus, &cpus))
    fail(STAGE_ARGUMENTS, NO_STATUS, "the allowed CPUs cannot be read: %s", strerror(errno));
  return cpus;
}

void pin_to(const cpu_set_t *cpus) {
  if (sched_setaffinity(0, sizeof *cpus, cpus))
    fail(STAGE_ARGUMENTS, NO_STATUS, "--affinity: %s; name CPUs that are online", strerror(errno));
  /* The kernel leaves out CPUs it does not have, and says nothing. */
  cpu_set_t given = allowed_cpus();
  if (memcmp(&given, cpus, sizeof given) != 0)
    fail(STAGE_ARGUMENTS, NO_STATUS, "--affinity: some of these CPUs are offline or not there");
}
