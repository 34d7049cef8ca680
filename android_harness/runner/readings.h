/* What the kernel tells about this process: clocks, memory, processors, costs. */
#ifndef DEPLOY_BENCH_READINGS_H
#define DEPLOY_BENCH_READINGS_H

#include "platform.h"

/* In kB as the kernel counts (1024 bytes); -1: not asked for, or the kernel does not tell. */
struct memory {
  int64_t rss_kb, hwm_kb, pss_kb, swap_kb;
};

/* Totals of the process since its start, or the difference of two such. */
struct usage {
  int64_t cpu_ns;
  int64_t voluntary_switches, involuntary_switches;
  int64_t minor_faults, major_faults;
};

/* CLOCK_MONOTONIC in ns: read without a system call, not stepped when the time of day is set.
 * CLOCK_MONOTONIC_RAW is a system call on many kernels, ten times the price. */
int64_t now_ns(void);

int64_t clock_call_ns(void);
int64_t clock_resolution_ns(void);

struct memory read_memory(bool with_pss);
struct usage read_usage(void);
struct usage usage_between(struct usage before, struct usage after);

/* Keeps the process, and every thread it starts later, on `cpus`. */
void pin_to(const cpu_set_t *cpus);
cpu_set_t allowed_cpus(void);

#endif
