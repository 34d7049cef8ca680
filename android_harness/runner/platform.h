/* What the runner takes from its C library, in one place: a build for another C library
 * (MINI_BIONIC: Android's own, without its headers) replaces this block and nothing else. */
#ifndef DEPLOY_BENCH_PLATFORM_H
#define DEPLOY_BENCH_PLATFORM_H

#define _GNU_SOURCE 1 /* dladdr, sched_setaffinity */

#ifdef MINI_BIONIC
#include "mini_bionic.h"
#else
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#endif

#include <stdbool.h>

#endif
