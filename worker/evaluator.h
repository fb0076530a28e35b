/* Scores a model on the valid and test splits by full-neighbour layer-wise inference over the whole
 * graph, with weights and embeddings from a client. */
#ifndef ANTHILL_WORKER_EVALUATOR_H
#define ANTHILL_WORKER_EVALUATOR_H

#include <stdbool.h>

#include "common/config.h"
#include "common/error.h"
#include "graph/graph_store.h"
#include "ps/client/client.h"
#include "worker/model.h"
#include "worker/score.h"

struct evaluator_input {
    const struct config *config;
    const struct graph *graph;
    const struct model *model;
    struct client *client;
    uint32_t weights_table, embeddings_table;
};

/* What the model says of every node. */
struct evaluation {
    float *logits; /* [node_count, class_count] */
    float *hidden; /* [node_count, hidden_units]: input of the last convolution's stage */
    uint32_t hidden_units;
};

/* Pulls the weights and runs inference; `keep_hidden` asks for evaluation->hidden.
 *   errors   those of client and inference_run; STATUS_STOPPED when a stop was requested
 *   owner    evaluation_deinit */
enum status evaluator_run(const struct evaluator_input *input, bool keep_hidden,
                          struct evaluation *evaluation, struct error *error) MUST_CHECK;
void evaluation_deinit(struct evaluation *evaluation);

/* Scores one split; score->count is 0 where it has no labelled nodes. */
enum status evaluator_score(const struct evaluator_input *input,
                            const struct evaluation *evaluation, enum graph_split split,
                            struct score *score, struct error *error) MUST_CHECK;

#endif
