// Fits a model into a memory budget, verifies the result, and runs both on the same input.
//
//     cc -std=c11 example.c -lgraph_opt_c -o example
//     ./example model.onnx 50%

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph_opt.h"

// Prints what an answer failed with, and gives its exit code.
static int32_t failed(const char *what, const GraphOptAnswer *answer) {
    int32_t code = graph_opt_answer_exit(answer);
    if (code != GRAPH_OPT_EXIT_DONE)
        fprintf(stderr, "%s: exit code %" PRId32 ": %s\n", what, code, graph_opt_answer_error(answer));
    return code;
}

static void progress(const char *what, void *context) {
    ++*(int *)context;
    printf("  ... %s\n", what);
}

// A whole file, which the caller frees; NULL if it cannot be read.
static uint8_t *file(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    uint8_t *bytes = NULL;
    if (fseek(f, 0, SEEK_END) == 0) {
        long end = ftell(f);
        rewind(f);
        bytes = end > 0 ? malloc((size_t)end) : NULL;
        if (bytes && fread(bytes, 1, (size_t)end, f) != (size_t)end) {
            free(bytes);
            bytes = NULL;
        }
        *size = (size_t)end;
    }
    fclose(f);
    return bytes;
}

// Runs a model of the set on one input.
static GraphOptAnswer *run(const char *model, const GraphOptModels *models, const float *x, size_t count,
                           const uint64_t *dims, size_t rank) {
    GraphOptTensor input = {
        .name = "input", .dtype = GRAPH_OPT_TYPE_F32, .rank = rank, .dims = dims, .data = x, .size = count * sizeof *x};
    return graph_opt_run(model, models, &input, 1, 0);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "expected a model with one input of 1x3x64x64 floats, called input,, and a budget such as 50%%\n");
        return GRAPH_OPT_EXIT_USAGE;
    }
    printf("graph-opt %s\n", graph_opt_version());
    size_t size = 0;
    uint8_t *bytes = file(argv[1], &size);
    if (!bytes) {
        fprintf(stderr, "%s: cannot be read\n", argv[1]);
        return GRAPH_OPT_EXIT_USAGE;
    }

    // The main job. The answer has the new model, if it fits and is shown to be equal.
    GraphOptAnswer *fitted = graph_opt_fit(bytes, size, argv[2]);
    int32_t code = failed("fit", fitted);
    GraphOptBytes small = graph_opt_answer_model(fitted, "memory:fitted.onnx");
    if (code == GRAPH_OPT_EXIT_DONE) {
        printf("%s", graph_opt_answer_text(fitted));
        GraphOptAnswer *equal = graph_opt_verify(bytes, size, small.data, small.size);
        code = failed("verify", equal);
        printf("%s", graph_opt_answer_text(equal));
        graph_opt_answer_free(equal);
    }

    // Any command runs on models in memory. This set has the original and what fit wrote.
    GraphOptModels *models = graph_opt_models_new();
    char *refused = graph_opt_models_put(models, "memory:model.onnx", bytes, size);
    if (!refused)
        refused = graph_opt_models_add(models, fitted);
    if (refused) {
        fprintf(stderr, "models: %s\n", refused);
        graph_opt_text_free(refused);
        code = GRAPH_OPT_EXIT_USAGE;
    }
    if (code == GRAPH_OPT_EXIT_DONE) {
        int steps = 0;
        const char *words[] = {"opt", "memory:model.onnx", "-O", "-o", "memory:clean.onnx", "--verify"};
        GraphOptAnswer *clean = graph_opt_call(words, sizeof words / sizeof *words, models, progress, &steps);
        code = failed("opt", clean);
        if (code == GRAPH_OPT_EXIT_DONE && (steps == 0 || !strstr(graph_opt_answer_json(clean), "\"ok\": true")))
            code = GRAPH_OPT_EXIT_INTERNAL;
        graph_opt_answer_free(clean);
    }

    // Both models give the same bits.
    if (code == GRAPH_OPT_EXIT_DONE) {
        enum { COUNT = 3 * 64 * 64 };
        const uint64_t dims[] = {1, 3, 64, 64};
        float *x = malloc(COUNT * sizeof *x);
        if (!x)
            abort();
        for (int i = 0; i < COUNT; ++i)
            x[i] = (float)(i % 17) / 8 - 1;
        GraphOptAnswer *before = run("memory:model.onnx", models, x, COUNT, dims, 4);
        GraphOptAnswer *after = run("memory:fitted.onnx", models, x, COUNT, dims, 4);
        code = failed("run", before);
        if (code == GRAPH_OPT_EXIT_DONE)
            code = failed("run", after);
        for (size_t i = 0; code == GRAPH_OPT_EXIT_DONE && i < graph_opt_answer_output_count(before); ++i) {
            GraphOptTensor a = graph_opt_answer_output(before, i), b = graph_opt_answer_output(after, i);
            bool same = b.name && a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
            printf("%s: %zu bytes, %s\n", a.name, a.size, same ? "the same" : "DIFFERENT");
            if (!same || a.size == 0)
                code = GRAPH_OPT_EXIT_DIFFERS;
        }
        graph_opt_answer_free(before);
        graph_opt_answer_free(after);

        // An error: what the model takes is missing.
        GraphOptAnswer *missing = graph_opt_run("memory:model.onnx", models, NULL, 0, 0);
        printf("without its input: exit code %" PRId32 ": %s\n", graph_opt_answer_exit(missing),
               graph_opt_answer_error(missing));
        if (graph_opt_answer_exit(missing) != GRAPH_OPT_EXIT_USAGE)
            code = GRAPH_OPT_EXIT_INTERNAL;
        graph_opt_answer_free(missing);
        free(x);
    }

    graph_opt_models_free(models);
    graph_opt_answer_free(fitted);
    free(bytes);
    return code;
}
