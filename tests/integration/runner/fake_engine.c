/* A LiteRT of our own for the paths a real one does not take: FAKE_FAILS names the function that
 * answers with status 3. Its model doubles eight floats; OLD_MODEL_CALL and OLD_OPTIONS give it
 * the interface of earlier releases. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  uint32_t rank;
  int32_t dimensions[8];
  uint32_t strides[8];
} Layout;

typedef struct {
  int32_t type;
  Layout layout;
} Tensor;

static float input[8], output[8];
static int anything;

static int answer(const char *function) {
  const char *fails = getenv("FAKE_FAILS");
  return fails && strcmp(fails, function) == 0 ? 3 : 0;
}

#define HANDLE(name, ...)             \
  int LiteRt##name(__VA_ARGS__) {     \
    *made = &anything;                \
    return answer(#name);             \
  }
#define TEXT(name, text, ...)         \
  int LiteRt##name(__VA_ARGS__) {     \
    *made = text;                     \
    return answer(#name);             \
  }
#define COUNT(name, ...)              \
  int LiteRt##name(__VA_ARGS__) {     \
    *made = 1;                        \
    return answer(#name);             \
  }

int LiteRtCreateEnvironment(int count, const void *options, void **made) {
  (void)count, (void)options;
  printf("the engine talks on standard output\n");
  fflush(stdout);
  *made = &anything;
  return answer("CreateEnvironment");
}

#ifdef OLD_OPTIONS
int LiteRtCreateCpuOptions(void) { return 0; }
#endif

#ifdef OLD_MODEL_CALL
HANDLE(CreateModelFromFile, const char *path, void **made)
#else
int LiteRtCreateModelFromFd(void) { return 5; }
int LiteRtCreateModelFromFile(void *environment, const char *path, void **made) {
  (void)path;
  *made = environment;
  return answer("CreateModelFromFile");
}
#endif

COUNT(GetNumAccelerators, void *environment, size_t *made)
HANDLE(GetAccelerator, void *environment, size_t i, void **made)
TEXT(GetAcceleratorName, "FakeAccelerator", void *accelerator, const char **made)
HANDLE(CreateOptions, void **made)
HANDLE(CreateCompiledModel, void *environment, void *model, void *options, void **made)
COUNT(CompiledModelIsFullyAccelerated, void *compiled, bool *made)
HANDLE(GetModelSignature, void *model, size_t i, void **made)
TEXT(GetSignatureKey, "serving_default", void *signature, const char **made)
COUNT(GetNumSignatureInputs, void *signature, size_t *made)
COUNT(GetNumSignatureOutputs, void *signature, size_t *made)
TEXT(GetSignatureInputName, "x", void *signature, size_t i, const char **made)
TEXT(GetSignatureOutputName, "y", void *signature, size_t i, const char **made)
HANDLE(GetSignatureInputTensorByIndex, void *signature, size_t i, void **made)
HANDLE(GetSignatureOutputTensorByIndex, void *signature, size_t i, void **made)
HANDLE(GetCompiledModelInputTensorLayout, void *c, size_t s, size_t i, void **made)
HANDLE(GetCompiledModelOutputTensorLayouts, void *c, size_t s, size_t i, void **made, bool u)

int LiteRtCreateOpaqueOptions(const char *id, void *text, void (*release)(void *), void **made) {
  fprintf(stderr, "options %s: %s", id, (const char *)text);
  release(text);
  *made = &anything;
  return answer("CreateOpaqueOptions");
}

int LiteRtSetOptionsHardwareAccelerators(void *options, int which) {
  (void)options, (void)which;
  return answer("SetOptionsHardwareAccelerators");
}

int LiteRtAddOpaqueOptions(void *options, void *added) {
  (void)options, (void)added;
  return answer("AddOpaqueOptions");
}

int LiteRtGetRankedTensorType(void *tensor, Tensor *made) {
  (void)tensor;
  memset(made, 0, sizeof *made);
  made->type = 1;
  made->layout.rank = 1;
  made->layout.dimensions[0] = 8;
  return answer("GetRankedTensorType");
}

int LiteRtGetCompiledModelInputBufferRequirements(void *c, size_t s, size_t i, void **made) {
  (void)c, (void)s, (void)i;
  *made = input;
  return answer("GetCompiledModelInputBufferRequirements");
}

int LiteRtGetCompiledModelOutputBufferRequirements(void *c, size_t s, size_t i, void **made) {
  (void)c, (void)s, (void)i;
  *made = output;
  return answer("GetCompiledModelOutputBufferRequirements");
}

int LiteRtCreateManagedTensorBufferFromRequirements(void *environment, const Tensor *type,
                                                    void *requirements, void **made) {
  (void)environment, (void)type;
  *made = requirements;
  return answer("CreateManagedTensorBufferFromRequirements");
}

int LiteRtGetTensorBufferPackedSize(void *buffer, size_t *made) {
  (void)buffer;
  *made = sizeof input;
  return answer("GetTensorBufferPackedSize");
}

int LiteRtLockTensorBuffer(void *buffer, void **made, int mode) {
  (void)mode;
  *made = buffer;
  return answer("LockTensorBuffer");
}

int LiteRtUnlockTensorBuffer(void *buffer) {
  (void)buffer;
  return answer("UnlockTensorBuffer");
}

int LiteRtRunCompiledModel(void *c, size_t s, size_t ni, void **in, size_t no, void **out) {
  (void)c, (void)s, (void)ni, (void)in, (void)no, (void)out;
  for (volatile int spin = 0; spin < 10000; spin = spin + 1) continue;
  for (int i = 0; i < 8; i++) output[i] = 2 * input[i];
  if (getenv("FAKE_CRASH")) abort();
  return answer("RunCompiledModel");
}
