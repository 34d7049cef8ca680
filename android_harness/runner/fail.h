/* How the runner ends: one document on standard output, and the exit code that belongs to it. */
#ifndef DEPLOY_BENCH_FAIL_H
#define DEPLOY_BENCH_FAIL_H

#include "platform.h"

#define RUNNER_NAME "deploy-bench-runner 1"
enum { RUNNER_SCHEMA = 1, NO_STATUS = -1 };

enum stage {
  STAGE_ARGUMENTS,
  STAGE_LIBRARY,
  STAGE_ENVIRONMENT,
  STAGE_MODEL,
  STAGE_COMPILE,
  STAGE_INPUT,
  STAGE_INVOKE,
  STAGE_OUTPUT
};

/* Keeps standard output for the document alone: what the engine prints goes to standard error.
 * Called first, before any library is loaded. */
void claim_stdout(void);

/* Where the document is written. */
FILE *document_stream(void);

/* Ends the process after the document was written; exit code 2 when it did not go out whole. */
_Noreturn void finish(int exit_code);

/* Writes an error document and ends the process. `status` is the engine's, or NO_STATUS. */
_Noreturn void fail(enum stage stage, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
