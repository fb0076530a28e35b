/* A run's tables as the servers know them: the model's parameters as one dense table, the node
 * embeddings as one sparse table whose keys are global node ids. Pure. */
#ifndef ANTHILL_WORKER_TABLES_H
#define ANTHILL_WORKER_TABLES_H

#include "common/config.h"
#include "common/error.h"
#include "common/wire.pb-c.h"
#include "worker/model.h"

#define TABLE_WEIGHTS    "weights"
#define TABLE_EMBEDDINGS "embeddings"

struct tables {
    Anthill__TableSpec weights;
    Anthill__TableSpec embeddings; /* dim 0: the model has none */
    Anthill__Encoding wire;        /* of embeddings: the form of rows and gradients in messages */
    uint64_t cache_rows;           /* of embeddings: rows that a worker keeps; 0: none ... */
    uint32_t cache_behind;         /* ... and the pushes that such a row may be behind */
    bool look_ahead;               /* of embeddings: pulled a step before they are used */
    Anthill__OptimizerSpec optimizer, embedding_optimizer;
    Anthill__TensorSpec *tensors;
    Anthill__TensorSpec **tensor_pointers;
};

/* Names are borrowed from `model`, which must outlive the tables; tables_deinit frees the rest.
 *   errors   STATUS_NOMEM */
enum status tables_init(struct tables *tables, const struct config *config,
                        const struct model *model, struct error *error) MUST_CHECK;
void tables_deinit(struct tables *tables);

#endif
