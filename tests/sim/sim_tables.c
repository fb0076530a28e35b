/* The tables of a run: what they are, and the numbers of their keys. */
#include <inttypes.h>
#include <string.h>

#include "common/check.h"
#include "ps/table.h"
#include "tests/sim/sim.h"

static const char *const names[TABLES] = {"nodes", "bounded", "equal", "weights"};

const Anthill__TableSpec *model_spec(uint32_t table)
{
    static Anthill__TableSpec specs[TABLES];
    static Anthill__OptimizerSpec optimizer;
    static Anthill__TensorSpec tensors[TENSORS], *tensor_pointers[TENSORS];
    static const char *const tensor_names[TENSORS] = {"a", "b", "c"};
    Anthill__TableSpec *spec = &specs[table];
    if (spec->name != NULL) return spec;
    anthill__optimizer_spec__init(&optimizer);
    optimizer.kind = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_SGD;
    optimizer.rate = 1;
    anthill__table_spec__init(spec);
    spec->name = (char *)names[table];
    spec->optimizer = &optimizer;
    spec->init = ANTHILL__INIT_KIND__INIT_ZERO;
    spec->kind = ANTHILL__TABLE_KIND__TABLE_SPARSE;
    spec->dim = DIM;
    if (table == TABLE_SSP) spec->consistency = ANTHILL__CONSISTENCY_MODE__CONSISTENCY_SSP;
    if (table == TABLE_SSP) spec->staleness = SSP_BOUND;
    if (table == TABLE_BSP) spec->consistency = ANTHILL__CONSISTENCY_MODE__CONSISTENCY_BSP;
    if (table != TABLE_DENSE) return spec;
    spec->kind = ANTHILL__TABLE_KIND__TABLE_DENSE;
    spec->dim = 0;
    spec->n_tensors = TENSORS;
    spec->tensors = tensor_pointers;
    for (uint32_t i = 0; i < TENSORS; i++) {
        anthill__tensor_spec__init(&tensors[i]);
        tensors[i].name = (char *)tensor_names[i];
        tensors[i].rows = 1;
        tensors[i].cols = i + 2;
        tensors[i].init = ANTHILL__INIT_KIND__INIT_ZERO;
        tensor_pointers[i] = &tensors[i];
    }
    return spec;
}

uint32_t model_places(uint32_t table)
{
    return table == TABLE_DENSE ? TENSORS : KEYS;
}

uint64_t model_key(uint32_t table, uint32_t place)
{
    return table == TABLE_DENSE ? (uint64_t)place << 32 : place * UINT64_C(1000003) + 7;
}

uint32_t model_floats(uint32_t table, uint32_t place)
{
    return table == TABLE_DENSE ? place + 2 : DIM;
}

uint32_t model_place(uint32_t table, uint64_t key)
{
    uint64_t place = table == TABLE_DENSE ? key >> 32 : (key - 7) / 1000003;
    if (place >= model_places(table) || model_key(table, (uint32_t)place) != key)
        sim_fail("key %" PRIu64 " of table %s is none of the run's", key, names[table]);
    return (uint32_t)place;
}

/* The run's number of a shard's table. */
uint32_t model_table(const struct shard *shard, uint32_t number)
{
    CHECK(number < shard_table_count(shard));
    const char *name = table_spec(shard_table(shard, number))->name;
    for (uint32_t i = 0; i < TABLES; i++) {
        if (strcmp(name, names[i]) == 0) return i;
    }
    sim_fail("a shard has a table %s", name);
}
