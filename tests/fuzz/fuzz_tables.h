/* Tables for shards and clients under fuzzing: one sparse, one dense. */
#ifndef ANTHILL_TESTS_FUZZ_FUZZ_TABLES_H
#define ANTHILL_TESTS_FUZZ_FUZZ_TABLES_H

#include "common/check.h"
#include "ps/shard.h"
#include "tests/fuzz/fuzz.h"

/* Specs with the memory behind them; not to be copied. */
struct fuzz_tables {
    Anthill__OptimizerSpec optimizer;
    Anthill__TensorSpec tensor[2];
    Anthill__TensorSpec *tensors[2];
    Anthill__TableSpec rows, weights;
};

/* "rows" of 2 floats, 64 of them at most, and "weights" of two tensors. */
static inline void fuzz_tables_init(struct fuzz_tables *tables, Anthill__OptimizerKind kind)
{
    anthill__optimizer_spec__init(&tables->optimizer);
    tables->optimizer.kind = kind;
    tables->optimizer.rate = 0.5f;
    tables->optimizer.beta1 = 0.9f;
    tables->optimizer.beta2 = 0.999f;
    tables->optimizer.epsilon = 1e-8f;
    tables->optimizer.momentum = 0.9f;
    tables->optimizer.ftrl_beta = 1;
    for (int i = 0; i < 2; i++) {
        anthill__tensor_spec__init(&tables->tensor[i]);
        tables->tensors[i] = &tables->tensor[i];
        tables->tensor[i].name = i == 0 ? "w" : "b";
        tables->tensor[i].rows = 1 + (uint32_t)i;
        tables->tensor[i].cols = 3;
    }
    anthill__table_spec__init(&tables->rows);
    tables->rows.name = "rows";
    tables->rows.dim = 2;
    tables->rows.optimizer = &tables->optimizer;
    tables->rows.rows_max = 64;
    tables->weights = tables->rows;
    tables->weights.name = "weights";
    tables->weights.kind = ANTHILL__TABLE_KIND__TABLE_DENSE;
    tables->weights.dim = 0;
    tables->weights.rows_max = 0;
    tables->weights.n_tensors = 2;
    tables->weights.tensors = tables->tensors;
}

/* Tables 0 and 1 of an empty shard. */
static inline void fuzz_tables_create(struct shard *shard, Anthill__OptimizerKind kind)
{
    struct fuzz_tables tables;
    uint32_t index;
    fuzz_tables_init(&tables, kind);
    CHECK(shard_table_create(shard, &tables.rows, &index, NULL) == STATUS_OK);
    CHECK(shard_table_create(shard, &tables.weights, &index, NULL) == STATUS_OK);
}

#endif
