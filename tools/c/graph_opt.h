// graph-opt: rewrites ONNX graphs so that networks fit the memory of the machine, and shows that the answer is the
// same. This file is written by cbindgen: UPDATE_HEADER=1 cargo test -p graph-opt-c renews it.
//
// Ownership. A function whose comment says "free" gives something that belongs to the caller; all other pointers that
// it gives belong to the handle that was passed, and are valid until that is freed. What the caller passes is only
// read, and only until the function returns.
//
// Errors. Every command ends in an answer with an exit code, as the command line has it, and an error in words. NULL,
// text that is not UTF-8 and sizes that do not fit are such errors. No function ends the process or lets a panic of
// Rust out. Text is UTF-8 and ends in a zero byte; zero bytes within are left out.
//
// Threads. All functions may be called from several threads at once, also with the same handles, but for the
// functions that free: a handle that is freed must not be in use.

#ifndef GRAPH_OPT_H
#define GRAPH_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// How a command ended.
typedef enum {
    // It did what was asked.
    GRAPH_OPT_EXIT_DONE = 0,
    // Models or results differ.
    GRAPH_OPT_EXIT_DIFFERS = 1,
    // Wrong usage, or input that cannot be read.
    GRAPH_OPT_EXIT_USAGE = 2,
    // Valid, but not supported.
    GRAPH_OPT_EXIT_UNSUPPORTED = 3,
    // A limit cannot be met: the model does not fit, or there is no plan.
    GRAPH_OPT_EXIT_DOES_NOT_FIT = 4,
    // Neither equality nor a difference could be shown.
    GRAPH_OPT_EXIT_UNDECIDED = 5,
    // A file cannot be written, or a device cannot be read.
    GRAPH_OPT_EXIT_INPUT_OUTPUT = 6,
    // A bug in graph-opt.
    GRAPH_OPT_EXIT_INTERNAL = 70,
    // Ended by a signal.
    GRAPH_OPT_EXIT_INTERRUPTED = 130,
} GraphOptExit;

// Types of elements, with ONNX's numbers (TensorProto.DataType). Others of ONNX's numbers may be used as well, but
// for strings.
typedef enum {
    // float
    GRAPH_OPT_TYPE_F32 = 1,
    // uint8_t
    GRAPH_OPT_TYPE_U8 = 2,
    // int8_t
    GRAPH_OPT_TYPE_I8 = 3,
    // uint16_t
    GRAPH_OPT_TYPE_U16 = 4,
    // int16_t
    GRAPH_OPT_TYPE_I16 = 5,
    // int32_t
    GRAPH_OPT_TYPE_I32 = 6,
    // int64_t
    GRAPH_OPT_TYPE_I64 = 7,
    // One byte, 0 or 1.
    GRAPH_OPT_TYPE_BOOL = 9,
    // IEEE 754's half precision.
    GRAPH_OPT_TYPE_F16 = 10,
    // double
    GRAPH_OPT_TYPE_F64 = 11,
    // uint32_t
    GRAPH_OPT_TYPE_U32 = 12,
    // uint64_t
    GRAPH_OPT_TYPE_U64 = 13,
    // The upper half of a float.
    GRAPH_OPT_TYPE_BF16 = 16,
} GraphOptType;

// What a command came to.
typedef struct GraphOptAnswer GraphOptAnswer;

// Models that commands read, by names that begin with "memory:".
typedef struct GraphOptModels GraphOptModels;

// Is told what a command is doing, on the thread that called it. `what` is valid during the call.
typedef void (*GraphOptProgress)(const char *what, void *context);

// A named tensor.
typedef struct {
    // Name of the model's input or output.
    const char *name;
    // Type of the elements, a GraphOptType.
    int32_t dtype;
    // Number of axes.
    size_t rank;
    // Extent of each axis.
    const uint64_t *dims;
    // The elements by rows, little-endian.
    const void *data;
    // Number of bytes at `data`.
    size_t size;
} GraphOptTensor;

// A range of bytes.
typedef struct {
    // The first one.
    const uint8_t *data;
    // How many there are.
    size_t size;
} GraphOptBytes;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of graph-opt, such as "0.1.0". It is valid for ever.
const char *graph_opt_version(void);

// A set of models, which has none yet. Free it with graph_opt_models_free.
GraphOptModels *graph_opt_models_new(void);

// Frees a set of models; NULL is none.
void graph_opt_models_free(GraphOptModels *models);

// Copies a model in ONNX's form into the set, in the place of one of that name if there is one. The name begins with
// "memory:". Gives NULL, or why it is not done. Free that with graph_opt_text_free.
char *graph_opt_models_put(const GraphOptModels *models,
                           const char *name,
                           const uint8_t *bytes,
                           size_t size);

// Adds the models that a command wrote to the set, without copying them. Gives NULL, or why it is not done. Free that
// with graph_opt_text_free.
char *graph_opt_models_add(const GraphOptModels *models,
                           const GraphOptAnswer *answer);

// Frees a text that a function whose comment says so gave; NULL is none.
void graph_opt_text_free(char *text);

// Runs a command as the command line does, in this process: `count` words without the program's name, such as
// "inspect", "memory:model.onnx". Models whose names begin with "memory:" are read from `models`, which may be NULL,
// and written to the answer; others are files. `progress` may be NULL. Nothing is printed. Free the answer, which is
// never NULL, with graph_opt_answer_free.
GraphOptAnswer *graph_opt_call(const char *const *words,
                               size_t count,
                               const GraphOptModels *models,
                               GraphOptProgress progress,
                               void *context);

// Rewrites a model in ONNX's form so that a run takes at most so much memory, such as "12MiB" or "50%", and compares
// the two. The answer has the new model under the name "memory:fitted.onnx". It is graph_opt_call of
// `opt MODEL --memory MEMORY -o memory:fitted.onnx --verify`. Free the answer, which is never NULL, with
// graph_opt_answer_free.
GraphOptAnswer *graph_opt_fit(const uint8_t *model,
                              size_t size,
                              const char *memory);

// Compares two models in ONNX's form: exit code GRAPH_OPT_EXIT_DONE if they are equal, GRAPH_OPT_EXIT_DIFFERS,
// GRAPH_OPT_EXIT_UNDECIDED. It is graph_opt_call of `verify ORIGINAL REWRITTEN`. Free the answer, which is never NULL,
// with graph_opt_answer_free.
GraphOptAnswer *graph_opt_verify(const uint8_t *original,
                                 size_t original_size,
                                 const uint8_t *rewritten,
                                 size_t rewritten_size);

// Runs a model on the reference interpreter, on `count` inputs, which must be all that it takes, on so many threads, 0
// for as many as there are cores. The model is named as in graph_opt_call. The answer has the outputs. Free it, which is
// never NULL, with graph_opt_answer_free.
GraphOptAnswer *graph_opt_run(const char *model,
                              const GraphOptModels *models,
                              const GraphOptTensor *inputs,
                              size_t count,
                              size_t threads);

// The exit code, a GraphOptExit; GRAPH_OPT_EXIT_USAGE for NULL.
int32_t graph_opt_answer_exit(const GraphOptAnswer *answer);

// Why the exit code is not GRAPH_OPT_EXIT_DONE, in words; empty if it is.
const char *graph_opt_answer_error(const GraphOptAnswer *answer);

// What the command line prints with --json, which docs/schema.json describes; empty for graph_opt_run, and for words
// that cannot be read.
const char *graph_opt_answer_json(const GraphOptAnswer *answer);

// What the command line prints for people.
const char *graph_opt_answer_text(const GraphOptAnswer *answer);

// What the command line prints to standard error, besides the error.
const char *graph_opt_answer_said(const GraphOptAnswer *answer);

// How many models the command wrote under names that begin with "memory:".
size_t graph_opt_answer_model_count(const GraphOptAnswer *answer);

// The name of one of them, by the alphabet; NULL if there are not so many.
const char *graph_opt_answer_model_name(const GraphOptAnswer *answer, size_t index);

// The model of this name, in ONNX's form; `data` is NULL if the command wrote none.
GraphOptBytes graph_opt_answer_model(const GraphOptAnswer *answer, const char *name);

// How many outputs a run gave.
size_t graph_opt_answer_output_count(const GraphOptAnswer *answer);

// One of them, in the model's order; its `name` is NULL if there are not so many.
GraphOptTensor graph_opt_answer_output(const GraphOptAnswer *answer, size_t index);

// Frees an answer; NULL is none.
void graph_opt_answer_free(GraphOptAnswer *answer);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* GRAPH_OPT_H */
