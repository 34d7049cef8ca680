/* JSON text: strings escaped so that any bytes a model or a path holds give a valid document. */
#ifndef DEPLOY_BENCH_JSON_H
#define DEPLOY_BENCH_JSON_H

#include "platform.h"

/* Writes a quoted string; bytes that are not UTF-8 become U+FFFD, NULL becomes "". */
void json_string(FILE *to, const char *text);

/* Writes a number, or null when it is negative: none of the runner's numbers can be. */
void json_count(FILE *to, int64_t value);

#endif
