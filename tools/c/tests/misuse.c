// What a caller may do wrong is answered, from several threads at once; nothing crashes.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../graph_opt.h"

static int checks;

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        __atomic_add_fetch(&checks, 1, __ATOMIC_RELAXED);                                                              \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);                                         \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

// Whether the answer has this exit code and an error with these words; frees it.
static bool ends(GraphOptAnswer *answer, int32_t code, const char *words) {
    bool as = graph_opt_answer_exit(answer) == code && strstr(graph_opt_answer_error(answer), words) != NULL;
    if (!as)
        fprintf(stderr, "exit code %d: %s\n", graph_opt_answer_exit(answer), graph_opt_answer_error(answer));
    graph_opt_answer_free(answer);
    return as;
}

// Whether it was refused with these words; frees them.
static bool refuses(char *refused, const char *words) {
    bool as = refused && strstr(refused, words);
    if (!as)
        fprintf(stderr, "refused: %s\n", refused ? refused : "not at all");
    graph_opt_text_free(refused);
    return as;
}

static void *misuse(void *shared) {
    GraphOptModels *models = shared;
    const int32_t usage = GRAPH_OPT_EXIT_USAGE;

    // NULL.
    CHECK(ends(graph_opt_call(NULL, 3, models, NULL, NULL), usage, "words: expected 3 elements, found NULL"));
    CHECK(ends(graph_opt_call(NULL, 0, NULL, NULL, NULL), usage, "graph-opt"));
    const char *hole[] = {"inspect", NULL};
    CHECK(ends(graph_opt_call(hole, 2, models, NULL, NULL), usage, "word 1: expected a text, found NULL"));
    CHECK(ends(graph_opt_fit(NULL, 5, "50%"), usage, "model: expected 5 elements, found NULL"));
    CHECK(ends(graph_opt_fit((const uint8_t *)"x", 1, NULL), usage, "memory: expected a text, found NULL"));
    CHECK(ends(graph_opt_verify(NULL, 0, NULL, 0), usage, "memory:original.onnx"));
    CHECK(ends(graph_opt_run(NULL, models, NULL, 0, 0), usage, "model: expected a text, found NULL"));
    CHECK(refuses(graph_opt_models_put(NULL, "memory:a", NULL, 0), "models: expected a handle, found NULL"));
    CHECK(refuses(graph_opt_models_put(models, NULL, NULL, 0), "name: expected a text, found NULL"));
    CHECK(refuses(graph_opt_models_put(models, "memory:a", NULL, 9), "bytes: expected 9 elements, found NULL"));
    CHECK(refuses(graph_opt_models_add(models, NULL), "answer: expected a handle, found NULL"));
    CHECK(graph_opt_answer_exit(NULL) == usage && strstr(graph_opt_answer_error(NULL), "found NULL"));
    CHECK(!*graph_opt_answer_json(NULL) && !*graph_opt_answer_text(NULL) && !*graph_opt_answer_said(NULL));
    CHECK(graph_opt_answer_model_count(NULL) == 0 && !graph_opt_answer_model_name(NULL, 0));
    CHECK(!graph_opt_answer_model(NULL, "memory:a").data && !graph_opt_answer_output(NULL, 0).name);
    CHECK(graph_opt_answer_output_count(NULL) == 0);
    graph_opt_models_free(NULL);
    graph_opt_answer_free(NULL);
    graph_opt_text_free(NULL);

    // Text that is not UTF-8, other words than commands, models that are none.
    const char *latin[] = {"inspect", "caf\xe9.onnx"};
    CHECK(ends(graph_opt_call(latin, 2, models, NULL, NULL), usage, "word 1: expected UTF-8"));
    CHECK(refuses(graph_opt_models_put(models, "memory:\xff", NULL, 0), "name: expected UTF-8"));
    CHECK(refuses(graph_opt_models_put(models, "a.onnx", NULL, 0), "expected a name that begins with \"memory:\""));
    const char *unknown[] = {"bake"};
    CHECK(ends(graph_opt_call(unknown, 1, models, NULL, NULL), usage, "bake"));
    CHECK(ends(graph_opt_fit((const uint8_t *)"no model", 8, "50%"), usage, "memory:model.onnx"));
    CHECK(ends(graph_opt_fit((const uint8_t *)"no model", 8, "--verify"), usage, "--verify"));
    CHECK(ends(graph_opt_run("memory:none", models, NULL, 0, 0), usage, "no model memory:none is held in memory"));
    CHECK(ends(graph_opt_run("memory:none", NULL, NULL, 0, 0), usage, "no model memory:none is held in memory"));

    // Sizes that do not fit, and types that are none.
    const float four[4] = {1, 2, 3, 4};
    const uint64_t dims[2] = {2, 3}, huge[2] = {UINT64_MAX, 2};
    GraphOptTensor t = {"x", GRAPH_OPT_TYPE_F32, 2, dims, four, sizeof four};
    CHECK(ends(graph_opt_run("zoo:mnist-qdq", NULL, &t, 1, 0), usage, "x: expected 24 bytes"));
    t.dims = huge;
    CHECK(ends(graph_opt_run("zoo:mnist-qdq", NULL, &t, 1, 0), usage, "x: "));
    t.dims = NULL;
    CHECK(ends(graph_opt_run("zoo:mnist-qdq", NULL, &t, 1, 0), usage, "extents of x: expected 2 elements, found NULL"));
    t.dims = dims, t.dtype = 8;
    CHECK(ends(graph_opt_run("zoo:mnist-qdq", NULL, &t, 1, 0), usage, "expected the number of an ONNX type of numbers"));
    t.dtype = -7;
    CHECK(ends(graph_opt_run("zoo:mnist-qdq", NULL, &t, 1, 0), usage, "found -7"));
    t.name = NULL;
    CHECK(ends(graph_opt_run("zoo:mnist-qdq", NULL, &t, 1, 0), usage, "name of an input: expected a text, found NULL"));

    // What is asked for is given: the version, and a model with another name than that of a file.
    const char *version[] = {"--version"};
    GraphOptAnswer *answer = graph_opt_call(version, 1, NULL, NULL, NULL);
    CHECK(strstr(graph_opt_answer_text(answer), graph_opt_version()));
    CHECK(ends(answer, GRAPH_OPT_EXIT_DONE, ""));
    const char *words[] = {"opt", "zoo:mnist-qdq", "-p", "simplify", "-o", "memory:b.onnx"};
    answer = graph_opt_call(words, 6, models, NULL, NULL);
    CHECK(graph_opt_answer_model_count(answer) == 1);
    CHECK(strcmp(graph_opt_answer_model_name(answer, 0), "memory:b.onnx") == 0 && !graph_opt_answer_model_name(answer, 1));
    GraphOptBytes model = graph_opt_answer_model(answer, "memory:b.onnx");
    CHECK(model.size > 1000 && !graph_opt_answer_model(answer, "memory:c.onnx").data);
    CHECK(!graph_opt_models_add(models, answer));
    CHECK(!graph_opt_models_put(models, "memory:c.onnx", model.data, model.size));
    CHECK(ends(answer, GRAPH_OPT_EXIT_DONE, ""));
    const char *both[] = {"verify", "memory:b.onnx", "memory:c.onnx"};
    CHECK(ends(graph_opt_call(both, 3, models, NULL, NULL), GRAPH_OPT_EXIT_DONE, ""));
    // What differs is an exit code with words.
    const char *other[] = {"verify", "memory:b.onnx", "zoo:aidge-tutorial"};
    answer = graph_opt_call(other, 3, models, NULL, NULL);
    CHECK(*graph_opt_answer_error(answer));
    CHECK(ends(answer, GRAPH_OPT_EXIT_DIFFERS, ""));
    return NULL;
}

int main(void) {
    GraphOptModels *models = graph_opt_models_new();
    pthread_t threads[4];
    for (int i = 0; i < 4; ++i)
        CHECK(pthread_create(&threads[i], NULL, misuse, models) == 0);
    for (int i = 0; i < 4; ++i)
        CHECK(pthread_join(threads[i], NULL) == 0);
    graph_opt_models_free(models);
    printf("misuse: %d checks\n", checks);
    return 0;
}
