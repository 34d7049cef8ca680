/* The part of LiteRT's C interface that the runner calls, in declarations of our own.
 *
 * No package that carries libLiteRt.so carries its headers. Names, order of arguments and layouts
 * are those of ai-edge-litert 2.1.3 to 2.3.0; the asserts below hold the layouts in place, and
 * engine.c refuses a library that lacks one of the names.
 *
 * Source: litert/c/litert_*.h of google-ai-edge/LiteRT. */
#ifndef DEPLOY_BENCH_LITERT_ABI_H
#define DEPLOY_BENCH_LITERT_ABI_H

#include "platform.h"

typedef int LiteRtStatus;
enum { LITERT_OK = 0 };

typedef struct LiteRtEnvironmentT *LiteRtEnvironment;
typedef struct LiteRtModelT *LiteRtModel;
typedef struct LiteRtOptionsT *LiteRtOptions;
typedef struct LiteRtOpaqueOptionsT *LiteRtOpaqueOptions;
typedef struct LiteRtCompiledModelT *LiteRtCompiledModel;
typedef struct LiteRtSignatureT *LiteRtSignature;
typedef struct LiteRtTensorT *LiteRtTensor;
typedef struct LiteRtRequirementsT *LiteRtRequirements;
typedef struct LiteRtTensorBufferT *LiteRtTensorBuffer;
typedef struct LiteRtAcceleratorT *LiteRtAccelerator;

enum { LITERT_MAX_RANK = 8 };

/* The first word is a bit field: rank in the low 7 bits, has_strides in the next. */
typedef struct {
  uint32_t rank_and_flags;
  int32_t dimensions[LITERT_MAX_RANK];
  uint32_t strides[LITERT_MAX_RANK];
} LiteRtLayout;
_Static_assert(sizeof(LiteRtLayout) == 68, "LiteRtLayout");
_Static_assert(offsetof(LiteRtLayout, strides) == 36, "LiteRtLayout.strides");

typedef struct {
  int32_t element_type;
  LiteRtLayout layout;
} LiteRtRankedTensorType;
_Static_assert(sizeof(LiteRtRankedTensorType) == 72, "LiteRtRankedTensorType");

typedef struct {
  int32_t type;
  union {
    bool boolean;
    int64_t integer;
    double real;
    const char *text;
    const void *pointer;
  } value;
} LiteRtAny;
_Static_assert(sizeof(LiteRtAny) == 16, "LiteRtAny");

typedef struct {
  int32_t tag;
  LiteRtAny value;
} LiteRtEnvOption;
_Static_assert(sizeof(LiteRtEnvOption) == 24, "LiteRtEnvOption");
_Static_assert(sizeof(void *) == 8, "LiteRT's layouts above are those of 64-bit machines");

enum { LITERT_ANY_INTEGER = 2 };
enum { LITERT_ENV_AUTO_REGISTER_ACCELERATORS = 24 };
enum { LITERT_ACCELERATOR_CPU = 1 };
enum { LITERT_LOCK_READ = 0, LITERT_LOCK_WRITE = 1 };

/* LiteRtElementType; the numbers are TfLiteType's. Only those whose random input differs. */
enum {
  LITERT_FLOAT32 = 1,
  LITERT_INT32 = 2,
  LITERT_INT64 = 4,
  LITERT_BOOL = 6,
  LITERT_FLOAT16 = 10,
  LITERT_FLOAT64 = 11,
  LITERT_UINT64 = 13,
  LITERT_UINT32 = 16
};

/* F(result, name without the LiteRt prefix, arguments) for each function the runner needs.
 * CreateModelFromFile is as from 2.1.6 on; engine.c knows the older form. */
#define LITERT_FUNCTIONS(F)                                                                        \
  F(LiteRtStatus, CreateEnvironment, (int, const LiteRtEnvOption *, LiteRtEnvironment *))          \
  F(LiteRtStatus, GetNumAccelerators, (LiteRtEnvironment, size_t *))                               \
  F(LiteRtStatus, GetAccelerator, (LiteRtEnvironment, size_t, LiteRtAccelerator *))                \
  F(LiteRtStatus, GetAcceleratorName, (LiteRtAccelerator, const char **))                          \
  F(LiteRtStatus, CreateModelFromFile, (LiteRtEnvironment, const char *, LiteRtModel *))           \
  F(LiteRtStatus, CreateOptions, (LiteRtOptions *))                                                \
  F(LiteRtStatus, SetOptionsHardwareAccelerators, (LiteRtOptions, int))                            \
  F(LiteRtStatus, CreateOpaqueOptions,                                                             \
    (const char *, void *, void (*)(void *), LiteRtOpaqueOptions *))                               \
  F(LiteRtStatus, AddOpaqueOptions, (LiteRtOptions, LiteRtOpaqueOptions))                          \
  F(LiteRtStatus, CreateCompiledModel,                                                             \
    (LiteRtEnvironment, LiteRtModel, LiteRtOptions, LiteRtCompiledModel *))                        \
  F(LiteRtStatus, CompiledModelIsFullyAccelerated, (LiteRtCompiledModel, bool *))                  \
  F(LiteRtStatus, GetModelSignature, (LiteRtModel, size_t, LiteRtSignature *))                     \
  F(LiteRtStatus, GetSignatureKey, (LiteRtSignature, const char **))                               \
  F(LiteRtStatus, GetNumSignatureInputs, (LiteRtSignature, size_t *))                              \
  F(LiteRtStatus, GetNumSignatureOutputs, (LiteRtSignature, size_t *))                             \
  F(LiteRtStatus, GetSignatureInputName, (LiteRtSignature, size_t, const char **))                 \
  F(LiteRtStatus, GetSignatureOutputName, (LiteRtSignature, size_t, const char **))                \
  F(LiteRtStatus, GetSignatureInputTensorByIndex, (LiteRtSignature, size_t, LiteRtTensor *))       \
  F(LiteRtStatus, GetSignatureOutputTensorByIndex, (LiteRtSignature, size_t, LiteRtTensor *))      \
  F(LiteRtStatus, GetRankedTensorType, (LiteRtTensor, LiteRtRankedTensorType *))                   \
  F(LiteRtStatus, GetCompiledModelInputTensorLayout,                                               \
    (LiteRtCompiledModel, size_t, size_t, LiteRtLayout *))                                         \
  F(LiteRtStatus, GetCompiledModelOutputTensorLayouts,                                             \
    (LiteRtCompiledModel, size_t, size_t, LiteRtLayout *, bool))                                   \
  F(LiteRtStatus, GetCompiledModelInputBufferRequirements,                                         \
    (LiteRtCompiledModel, size_t, size_t, LiteRtRequirements *))                                   \
  F(LiteRtStatus, GetCompiledModelOutputBufferRequirements,                                        \
    (LiteRtCompiledModel, size_t, size_t, LiteRtRequirements *))                                   \
  F(LiteRtStatus, CreateManagedTensorBufferFromRequirements,                                       \
    (LiteRtEnvironment, const LiteRtRankedTensorType *, LiteRtRequirements, LiteRtTensorBuffer *)) \
  F(LiteRtStatus, GetTensorBufferPackedSize, (LiteRtTensorBuffer, size_t *))                       \
  F(LiteRtStatus, LockTensorBuffer, (LiteRtTensorBuffer, void **, int))                            \
  F(LiteRtStatus, UnlockTensorBuffer, (LiteRtTensorBuffer))                                        \
  F(LiteRtStatus, RunCompiledModel,                                                                \
    (LiteRtCompiledModel, size_t, size_t, LiteRtTensorBuffer *, size_t, LiteRtTensorBuffer *))

#endif
