/* Inference over all nodes with random weights, one thread: the graph's pages are in memory after
 * the first round. No bare loop is a fair limit of products and gathers together. */
#include <stdlib.h>

#include "common/check.h"
#include "common/config.h"
#include "common/program.h"
#include "common/rng.h"
#include "tests/bench/bench.h"
#include "worker/inference.h"

struct infer {
    struct graph *graph;
    struct config *config;
    struct model *model;
    struct model_weights weights;
    float *outputs;
};

static enum status run_inference(void *context, struct error *error)
{
    struct infer *infer = context;
    return inference_run(infer->model, infer->graph, true, &infer->weights, NULL, 0, infer->outputs,
                         NULL, NULL, NULL, NULL, error);
}

static enum status infer_init(struct infer *infer, const char *graph_path, struct error *error)
{
    enum status status = graph_open(&infer->graph, graph_path, 0, error);
    if (status == STATUS_OK)
        status = config_load(&infer->config, BENCH_SOURCE_DIR "/sage.yaml", NULL, 0, error);
    if (status == STATUS_OK)
        status = model_create(&infer->model, infer->config, graph_info(infer->graph), error);
    if (status != STATUS_OK) return status;
    const struct graph_info *info = graph_info(infer->graph);
    const uint64_t floats = model_floats(infer->model);
    infer->weights.values = malloc(floats * sizeof(float));
    infer->outputs = malloc(info->node_count * info->class_count * sizeof(float));
    CHECK(infer->weights.values != NULL && infer->outputs != NULL);
    struct rng rng = rng_make(1);
    for (uint64_t i = 0; i < floats; i++)
        infer->weights.values[i] = 0.1f * rng_normal(&rng);
    return STATUS_OK;
}

enum status infer_cases(struct bench *bench, struct error *error)
{
    char path[FILE_PATH_BYTES];
    struct infer infer = {0};
    if (!bench_wants(bench, "sage-t1")) return STATUS_OK;
    enum status status = bench_graph(bench, BENCH_GRAPH_16M, path, error);
    if (status == STATUS_OK) status = infer_init(&infer, path, error);
    struct bench_step step = {run_inference, &infer, 0};
    if (status == STATUS_OK) status = bench_alternate(&step, 1, bench_rounds(bench, 5), error);
    if (status == STATUS_OK)
        bench_report(bench, "sage-t1", (double)graph_info(infer.graph)->node_count / step.seconds,
                     "nodes/s", BENCH_NO_LIMIT);
    free(infer.outputs);
    free(infer.weights.values);
    model_destroy(infer.model);
    config_destroy(infer.config);
    graph_close(infer.graph);
    return status;
}
