/* SHA-256 (FIPS 180-4) of a file: the proof of which engine ran. */
#ifndef DEPLOY_BENCH_SHA256_H
#define DEPLOY_BENCH_SHA256_H

#include "platform.h"

enum { SHA256_HEX = 65 };

/* Writes 64 lower-case digits and a NUL, and the file's size; false when it cannot be read. */
bool sha256_file(const char *path, char hex[SHA256_HEX], uint64_t *bytes);

#endif
