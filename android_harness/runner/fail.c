#include "fail.h"

#include "json.h"

enum { EXIT_FILES = 2, EXIT_ENGINE = 3, EXIT_MODEL = 4 };

static const struct {
  const char *name;
  int exit_code;
} STAGES[] = {
    [STAGE_ARGUMENTS] = {"arguments", EXIT_FILES},
    [STAGE_LIBRARY] = {"library", EXIT_ENGINE},
    [STAGE_ENVIRONMENT] = {"environment", EXIT_ENGINE},
    [STAGE_MODEL] = {"model", EXIT_MODEL},
    [STAGE_COMPILE] = {"compile", EXIT_MODEL},
    [STAGE_INPUT] = {"input", EXIT_FILES},
    [STAGE_INVOKE] = {"invoke", EXIT_MODEL},
    [STAGE_OUTPUT] = {"output", EXIT_FILES},
};

static FILE *document;

void claim_stdout(void) {
  int kept = dup(1);
  if (kept < 0 || dup2(2, 1) < 0 || !(document = fdopen(kept, "w"))) {
    fprintf(stderr, "runner: standard output and standard error must be open\n");
    _exit(EXIT_FILES);
  }
}

FILE *document_stream(void) { return document; }

void finish(int exit_code) {
  fputc('\n', document);
  if (fflush(document) || ferror(document)) {
    fprintf(stderr, "runner: cannot write the document: %s\n", strerror(errno));
    _exit(EXIT_FILES);
  }
  /* Not exit(): the destructors of the engine cannot spoil a run that is over. */
  _exit(exit_code);
}

void fail(enum stage stage, int status, const char *format, ...) {
  char message[2048];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);

  fprintf(document, "{\"schema\":%d,\"runner\":", RUNNER_SCHEMA);
  json_string(document, RUNNER_NAME);
  fprintf(document, ",\"error\":{\"stage\":\"%s\",\"message\":", STAGES[stage].name);
  json_string(document, message);
  fprintf(document, ",\"status\":");
  json_count(document, status);
  fprintf(document, "},\"complete\":false}");
  finish(STAGES[stage].exit_code);
}
