#include "worker/evaluator.h"

#include <stdlib.h>
#include <string.h>

#include "common/program.h"
#include "worker/inference.h"

static enum status embedding_rows(void *context, const uint64_t *nodes, uint32_t count, float *rows,
                                  struct error *error)
{
    const struct evaluator_input *input = context;
    uint64_t ticket = 0;
    enum status status = client_pull(input->client, input->embeddings_table, nodes, count, rows,
                                     true, &ticket, error);
    return status == STATUS_OK ? client_wait(input->client, ticket, error) : status;
}

static bool goes_on(void *context)
{
    (void)context;
    return !program_stop_requested();
}

enum status evaluator_run(const struct evaluator_input *input, bool keep_hidden,
                          struct evaluation *evaluation, struct error *error)
{
    const struct graph_info *info = graph_info(input->graph);
    memset(evaluation, 0, sizeof *evaluation);
    float *values = malloc(model_floats(input->model) * sizeof *values);
    evaluation->logits = malloc(info->node_count * info->class_count * sizeof(float));
    enum status status = STATUS_OK;
    if (values == NULL || evaluation->logits == NULL) {
        status = error_set(error, STATUS_NOMEM, "logits of %llu nodes",
                           (unsigned long long)info->node_count);
        goto out;
    }
    uint64_t ticket = 0;
    status = client_pull_dense(input->client, input->weights_table, values, &ticket, error);
    if (status == STATUS_OK) status = client_wait(input->client, ticket, error);
    if (status != STATUS_OK) goto out;
    struct model_weights weights = {.values = values};
    struct embedding_source source = {.rows = embedding_rows, .context = (void *)input};
    status = inference_run(input->model, input->graph, input->config->graph.edges, &weights,
                           model_embedding_dim(input->model) > 0 ? &source : NULL, 0,
                           evaluation->logits, keep_hidden ? &evaluation->hidden : NULL,
                           &evaluation->hidden_units, goes_on, NULL, error);
out:
    free(values);
    if (status != STATUS_OK) evaluation_deinit(evaluation);
    return status;
}

void evaluation_deinit(struct evaluation *evaluation)
{
    free(evaluation->logits);
    free(evaluation->hidden);
    memset(evaluation, 0, sizeof *evaluation);
}

enum status evaluator_score(const struct evaluator_input *input,
                            const struct evaluation *evaluation, enum graph_split split,
                            struct score *score, struct error *error)
{
    uint64_t count = 0;
    const uint64_t *nodes = graph_split_ids(input->graph, split, &count);
    int32_t *labels = malloc((count > 0 ? count : 1) * sizeof *labels);
    if (labels == NULL) {
        return error_set(error, STATUS_NOMEM, "labels of %llu nodes", (unsigned long long)count);
    }
    graph_labels(input->graph, nodes, count, labels);
    score_classification_of(evaluation->logits, nodes, labels, count,
                            graph_info(input->graph)->class_count, score);
    free(labels);
    return STATUS_OK;
}
