#include "worker/tables.h"

#include <stdlib.h>
#include <string.h>

#include "common/rng.h"

/* Separate streams of initial values for the two tables of a run. */
enum { SEED_WEIGHTS = 1, SEED_EMBEDDINGS = 2 };

static Anthill__InitKind init_kind(enum parameter_init init)
{
    switch (init) {
    case PARAMETER_UNIFORM:
        return ANTHILL__INIT_KIND__INIT_UNIFORM;
    case PARAMETER_NORMAL:
        return ANTHILL__INIT_KIND__INIT_NORMAL;
    case PARAMETER_ZERO:
        break;
    }
    return ANTHILL__INIT_KIND__INIT_ZERO;
}

/* What weights and embeddings share. The schedule is not among it: it depends on the position in
 * the run and travels with each push (feed_rate_scale). */
static void fill_optimizer(Anthill__OptimizerSpec *spec, const struct config *config,
                           enum config_optimizer type, float rate)
{
    static const Anthill__OptimizerKind kinds[] = {
        [CONFIG_SGD] = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_SGD,
        [CONFIG_MOMENTUM] = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_MOMENTUM,
        [CONFIG_ADAGRAD] = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD,
        [CONFIG_ROWWISE_ADAGRAD] = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ROWWISE_ADAGRAD,
        [CONFIG_ADAM] = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAM,
        [CONFIG_ADAMW] = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAMW,
        [CONFIG_FTRL] = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_FTRL,
    };
    anthill__optimizer_spec__init(spec);
    spec->kind = kinds[type];
    spec->rate = rate;
    spec->beta1 = config->optimizer.beta1;
    spec->beta2 = config->optimizer.beta2;
    spec->epsilon = config->optimizer.epsilon;
    spec->momentum = config->optimizer.momentum;
    spec->l1 = config->optimizer.l1;
    spec->l2 = config->optimizer.l2;
    spec->ftrl_beta = config->optimizer.ftrl_beta;
    spec->clip_value = config->optimizer.clip_value;
    spec->clip_norm = config->optimizer.clip_norm;
}

static void fill_consistency(Anthill__TableSpec *spec, const struct config *config)
{
    static const Anthill__ConsistencyMode modes[] = {
        [CONFIG_ASYNC] = ANTHILL__CONSISTENCY_MODE__CONSISTENCY_ASYNC,
        [CONFIG_SSP] = ANTHILL__CONSISTENCY_MODE__CONSISTENCY_SSP,
        [CONFIG_BSP] = ANTHILL__CONSISTENCY_MODE__CONSISTENCY_BSP,
    };
    spec->consistency = modes[config->consistency.mode];
    spec->staleness = config->consistency.staleness;
    spec->compensate = config->consistency.compensate;
}

static void fill_rows(struct tables *tables, const struct config *config)
{
    static const Anthill__StorageKind storages[] = {
        [CONFIG_F32] = ANTHILL__STORAGE_KIND__STORAGE_F32,
        [CONFIG_BF16] = ANTHILL__STORAGE_KIND__STORAGE_BF16,
    };
    static const Anthill__Encoding encodings[] = {
        [CONFIG_F32] = ANTHILL__ENCODING__ENCODING_F32,
        [CONFIG_BF16] = ANTHILL__ENCODING__ENCODING_BF16,
        [CONFIG_INT8] = ANTHILL__ENCODING__ENCODING_INT8,
    };
    static const Anthill__EvictKind evictions[] = {
        [CONFIG_EVICT_NONE] = ANTHILL__EVICT_KIND__EVICT_NONE,
        [CONFIG_EVICT_AGE] = ANTHILL__EVICT_KIND__EVICT_AGE,
        [CONFIG_EVICT_SCORE] = ANTHILL__EVICT_KIND__EVICT_SCORE,
    };
    Anthill__TableSpec *spec = &tables->embeddings;
    spec->rows_max = config->servers.rows_max;
    spec->bytes_max = config->embeddings.bytes_max;
    spec->storage = storages[config->embeddings.storage];
    spec->admit_after = config->embeddings.admit_after;
    spec->evict = evictions[config->embeddings.evict];
    spec->evict_seconds = config->embeddings.evict_seconds;
    spec->versioned = config->embeddings.cache_rows > 0;
    tables->wire = encodings[config->embeddings.wire];
    tables->cache_rows = config->embeddings.cache_rows;
    tables->cache_behind = config->embeddings.cache_behind;
}

/* Rows that are pulled a step early, at clock c for step c + 1, have seen one clock less than the
 * step is promised. In ssp the table's bound is therefore smaller by that one: a pull at clock c
 * under bound s - 1 waits for the same trainers as one at clock c + 1 under s. In bsp, and in ssp
 * with bound 0, step c + 1 needs what this worker itself has yet to push. */
static void fill_look_ahead(struct tables *tables, const struct config *config)
{
    enum config_consistency mode = config->consistency.mode;
    tables->look_ahead =
        config->embeddings.look_ahead &&
        (mode == CONFIG_ASYNC || (mode == CONFIG_SSP && config->consistency.staleness > 0));
    if (tables->look_ahead && mode == CONFIG_SSP) tables->embeddings.staleness--;
}

static void fill_embeddings(struct tables *tables, const struct config *config, uint32_t dim)
{
    Anthill__TableSpec *spec = &tables->embeddings;
    anthill__table_spec__init(spec);
    if (dim == 0) return;
    spec->name = TABLE_EMBEDDINGS;
    spec->kind = ANTHILL__TABLE_KIND__TABLE_SPARSE;
    spec->dim = dim;
    spec->seed = rng_key(config->run.seed, SEED_EMBEDDINGS);
    spec->init = ANTHILL__INIT_KIND__INIT_NORMAL;
    spec->init_scale = 0.1f;
    fill_rows(tables, config);
    fill_consistency(spec, config);
    fill_look_ahead(tables, config);
    enum config_optimizer type = config->embeddings.optimizer;
    fill_optimizer(&tables->embedding_optimizer, config, type, config->optimizer.embedding_rate);
    /* Most gradients of an embedding are small: nothing but their size is to decide the step. */
    if (type == CONFIG_ADAGRAD || type == CONFIG_ROWWISE_ADAGRAD) {
        tables->embedding_optimizer.epsilon = 1e-10f;
    }
    spec->optimizer = &tables->embedding_optimizer;
}

enum status tables_init(struct tables *tables, const struct config *config,
                        const struct model *model, struct error *error)
{
    memset(tables, 0, sizeof *tables);
    uint32_t count = 0;
    const struct model_parameter *parameters = model_parameters(model, &count);
    tables->tensors = calloc(count, sizeof *tables->tensors);
    tables->tensor_pointers = calloc(count, sizeof(Anthill__TensorSpec *));
    if (tables->tensors == NULL || tables->tensor_pointers == NULL) {
        tables_deinit(tables);
        return error_set(error, STATUS_NOMEM, "specs of %u tensors", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        Anthill__TensorSpec *tensor = tables->tensor_pointers[i] = &tables->tensors[i];
        anthill__tensor_spec__init(tensor);
        tensor->name = (char *)parameters[i].name;
        tensor->rows = parameters[i].rows;
        tensor->cols = parameters[i].cols;
        tensor->init = init_kind(parameters[i].init);
        tensor->init_scale = parameters[i].init_scale;
        tensor->weight_decay = parameters[i].weight_decay;
    }
    Anthill__TableSpec *spec = &tables->weights;
    anthill__table_spec__init(spec);
    spec->name = TABLE_WEIGHTS;
    spec->kind = ANTHILL__TABLE_KIND__TABLE_DENSE;
    spec->seed = rng_key(config->run.seed, SEED_WEIGHTS);
    spec->n_tensors = count;
    spec->tensors = tables->tensor_pointers;
    fill_optimizer(&tables->optimizer, config, config->optimizer.type, config->optimizer.rate);
    spec->optimizer = &tables->optimizer;
    fill_consistency(spec, config);
    fill_embeddings(tables, config, model_embedding_dim(model));
    return STATUS_OK;
}

void tables_deinit(struct tables *tables)
{
    free(tables->tensors);
    free(tables->tensor_pointers);
    memset(tables, 0, sizeof *tables);
}
