#include "common/config_limits.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    SERVERS_MAX = 1024,
    SHARDS_MAX = 256,
    SLOTS_MAX = 1 << 20,
    REPLICAS_MAX = 2,
    WORKERS_MAX = 65536,
    BATCH_MAX = 1 << 24,
    UNITS_MAX = 1 << 20,
    LAYERS_MAX = 256,
    HOPS_MAX = 16,
    ADMIT_MAX = 255, /* as a server counts */
};

/* Twice the time between two signs of life of a server. */
#define DEAD_SECONDS_MIN 2.0f

/* Notes the fault and returns false. */
static bool __attribute__((format(printf, 3, 4)))
wrong(struct config_fault *fault, const char *key, const char *format, ...)
{
    snprintf(fault->key, sizeof fault->key, "%s", key);
    va_list args;
    va_start(args, format);
    vsnprintf(fault->text, sizeof fault->text, format, args);
    va_end(args);
    return false;
}

static bool whole(struct config_fault *fault, const char *key, uint64_t value, uint64_t min,
                  uint64_t max)
{
    if (value >= min && value <= max) return true;
    if (value < min) {
        return wrong(fault, key, "%" PRIu64 " is less than %" PRIu64, value, min);
    }
    return wrong(fault, key, "%" PRIu64 " is more than %" PRIu64, value, max);
}

static bool above(struct config_fault *fault, const char *key, float value, float bound)
{
    if (value > bound) return true;
    return wrong(fault, key, "%g is not greater than %g", (double)value, (double)bound);
}

static bool at_least(struct config_fault *fault, const char *key, float value, float bound)
{
    if (value >= bound) return true;
    return wrong(fault, key, "%g is less than %g", (double)value, (double)bound);
}

/* 0 <= value < 1 */
static bool below_one(struct config_fault *fault, const char *key, float value)
{
    if (value >= 0.0f && value < 1.0f) return true;
    return wrong(fault, key, "%g is not in [0, 1)", (double)value);
}

/* 0 <= value <= 1 */
static bool share(struct config_fault *fault, const char *key, float value)
{
    if (value >= 0.0f && value <= 1.0f) return true;
    return wrong(fault, key, "%g is not in [0, 1]", (double)value);
}

static bool filled(struct config_fault *fault, const char *key, const char *value)
{
    return value[0] != 0 || wrong(fault, key, "empty");
}

/* What an evaluation of a node classification reports. */
static bool metric_known(struct config_fault *fault, const char *key, const char *name)
{
    static const char *const names[] = {"accuracy", "macro_f1", "loss"};
    if (!filled(fault, key, name)) return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) return true;
    }
    return wrong(fault, key, "\"%s\" is no metric: expected accuracy, macro_f1 or loss", name);
}

static bool run_holds(const struct config *config, struct config_fault *fault)
{
    return filled(fault, "run.name", config->run.name) && filled(fault, "run.dir", config->run.dir);
}

static bool has_weights(const struct config_layer *layer)
{
    return layer->type == LAYER_LINEAR || layer->type == LAYER_SAGE || layer->type == LAYER_GCN;
}

static bool sees_neighbours(const struct config_layer *layer)
{
    return layer->type == LAYER_SAGE || layer->type == LAYER_GCN;
}

/* Also that a layer has no key that means nothing to it: it would be a setting without effect. */
static bool layer_holds(const struct config_layer *layer, unsigned index,
                        struct config_fault *fault)
{
    char key[64], *name = key + snprintf(key, sizeof key, "model.layers.%u.", index);
    size_t bytes = sizeof key - (size_t)(name - key);
    const char *effect = "has no effect on a layer of this type";
    snprintf(name, bytes, "rate");
    if (layer->type != LAYER_DROPOUT && layer->rate != 0.0f) return wrong(fault, key, "%s", effect);
    if (!below_one(fault, key, layer->rate)) return false;
    snprintf(name, bytes, "units");
    if (!has_weights(layer) && layer->units != 0) return wrong(fault, key, "%s", effect);
    if (!whole(fault, key, layer->units, 0, UNITS_MAX)) return false;
    snprintf(name, bytes, "no_bias");
    if (!has_weights(layer) && layer->no_bias) return wrong(fault, key, "%s", effect);
    snprintf(name, bytes, "weight_decay");
    if (!has_weights(layer) && layer->weight_decay != 0.0f) {
        return wrong(fault, key, "%s", effect);
    }
    if (!at_least(fault, key, layer->weight_decay, 0.0f)) return false;
    snprintf(name, bytes, "aggregate");
    if (layer->type != LAYER_SAGE && layer->aggregate != AGGREGATE_MEAN) {
        return wrong(fault, key, "%s", effect);
    }
    snprintf(name, bytes, "relations");
    if (layer->type != LAYER_SAGE && layer->relations != RELATIONS_ALL) {
        return wrong(fault, key, "%s", effect);
    }
    return true;
}

static bool decay_holds(const struct config *config, unsigned layer, struct config_fault *fault)
{
    char key[64];
    snprintf(key, sizeof key, "model.layers.%u.weight_decay", layer);
    float decay = config->model.layers[layer].weight_decay;
    if (config->optimizer.type != CONFIG_FTRL || decay == 0.0f) return true;
    return wrong(fault, key, "%g, but optimizer.type is ftrl, which has optimizer.l2 in its place",
                 (double)decay);
}

static bool model_holds(const struct config *config, struct config_fault *fault)
{
    unsigned hops = config->sampler.fanouts_count, needed = 0;
    for (unsigned i = 0; i < hops; i++) {
        char key[64];
        snprintf(key, sizeof key, "sampler.fanouts.%u", i);
        if (config->sampler.fanouts[i] < -1) {
            return wrong(fault, key, "%d is less than -1 (all neighbours)",
                         (int)config->sampler.fanouts[i]);
        }
    }
    if (hops > HOPS_MAX) {
        return wrong(fault, "sampler.fanouts", "%u hops, at most %d expected", hops, HOPS_MAX);
    }
    if (!whole(fault, "model.embedding", config->model.embedding, 0, UNITS_MAX)) return false;
    if (config->model.layers_count > LAYERS_MAX) {
        return wrong(fault, "model.layers", "%u layers, at most %d expected",
                     config->model.layers_count, LAYERS_MAX);
    }
    for (unsigned i = 0; i < config->model.layers_count; i++) {
        if (!layer_holds(&config->model.layers[i], i, fault)) return false;
        if (!decay_holds(config, i, fault)) return false;
        needed += sees_neighbours(&config->model.layers[i]);
    }
    if (config->graph.edges && needed > hops) {
        return wrong(fault, "sampler.fanouts",
                     "%u hops, but model.layers has %u sage or gcn layers", hops, needed);
    }
    return true;
}

static bool train_holds(const struct config *config, struct config_fault *fault)
{
    return whole(fault, "train.epochs", config->train.epochs, 1, UINT32_MAX) &&
           whole(fault, "train.batch", config->train.batch, 1, BATCH_MAX) &&
           whole(fault, "train.evaluate_every", config->train.evaluate_every, 1, UINT32_MAX) &&
           metric_known(fault, "train.monitor", config->train.monitor);
}

static bool optimizer_holds(const struct config *config, struct config_fault *fault)
{
    return above(fault, "optimizer.rate", config->optimizer.rate, 0.0f) &&
           below_one(fault, "optimizer.beta1", config->optimizer.beta1) &&
           below_one(fault, "optimizer.beta2", config->optimizer.beta2) &&
           above(fault, "optimizer.epsilon", config->optimizer.epsilon, 0.0f) &&
           below_one(fault, "optimizer.momentum", config->optimizer.momentum) &&
           at_least(fault, "optimizer.l1", config->optimizer.l1, 0.0f) &&
           at_least(fault, "optimizer.l2", config->optimizer.l2, 0.0f) &&
           above(fault, "optimizer.ftrl_beta", config->optimizer.ftrl_beta, 0.0f) &&
           at_least(fault, "optimizer.clip_value", config->optimizer.clip_value, 0.0f) &&
           at_least(fault, "optimizer.clip_norm", config->optimizer.clip_norm, 0.0f) &&
           share(fault, "optimizer.warmup", config->optimizer.warmup) &&
           share(fault, "optimizer.rate_final", config->optimizer.rate_final) &&
           above(fault, "optimizer.embedding_rate", config->optimizer.embedding_rate, 0.0f);
}

static bool embeddings_hold(const struct config *config, struct config_fault *fault)
{
    if (!whole(fault, "embeddings.admit_after", config->embeddings.admit_after, 0, ADMIT_MAX)) {
        return false;
    }
    if (config->embeddings.evict != CONFIG_EVICT_NONE && config->servers.rows_max == 0 &&
        config->embeddings.bytes_max == 0 && config->embeddings.evict_seconds == 0) {
        return wrong(fault, "embeddings.evict",
                     "nothing to evict for: servers.rows_max, embeddings.bytes_max and "
                     "embeddings.evict_seconds are 0");
    }
    if (config->embeddings.evict == CONFIG_EVICT_SCORE && config->embeddings.evict_seconds != 0) {
        return wrong(fault, "embeddings.evict_seconds",
                     "%u, but with embeddings.evict score rows do not keep when they were used",
                     config->embeddings.evict_seconds);
    }
    if (config->embeddings.cache_behind != 0 && config->embeddings.cache_rows == 0) {
        return wrong(fault, "embeddings.cache_behind", "%u, but embeddings.cache_rows is 0",
                     config->embeddings.cache_behind);
    }
    return true;
}

static bool dead_seconds_hold(const struct config *config, struct config_fault *fault)
{
    float dead = config->network.dead_seconds, timeout = config->network.timeout_seconds;
    if (!at_least(fault, "network.dead_seconds", dead, DEAD_SECONDS_MIN)) return false;
    if (config->servers.replicas == 1 || dead < timeout) return true;
    return wrong(fault, "network.dead_seconds", "%g is not less than network.timeout_seconds (%g)",
                 (double)dead, (double)timeout);
}

static bool cluster_holds(const struct config *config, struct config_fault *fault)
{
    uint64_t shards = (uint64_t)config->servers.count * config->servers.shards;
    if (config->consistency.staleness != 0 && config->consistency.mode != CONFIG_SSP) {
        return wrong(fault, "consistency.staleness", "%u, but consistency.mode is not ssp",
                     config->consistency.staleness);
    }
    if (config->consistency.compensate && config->consistency.mode == CONFIG_BSP) {
        return wrong(fault, "consistency.compensate",
                     "true, but with consistency.mode bsp no gradient is stale");
    }
    if (config->consistency.clock_batches != 0 && config->consistency.mode != CONFIG_BSP) {
        return wrong(fault, "consistency.clock_batches", "%u, but consistency.mode is not bsp",
                     config->consistency.clock_batches);
    }
    if (config->consistency.clock_batches != 0 && config->train.lease != 0) {
        return wrong(fault, "train.lease",
                     "%u, but with consistency.clock_batches a lease is one batch",
                     config->train.lease);
    }
    if (!whole(fault, "servers.count", config->servers.count, 1, SERVERS_MAX) ||
        !whole(fault, "servers.shards", config->servers.shards, 1, SHARDS_MAX) ||
        !whole(fault, "servers.slots", config->servers.slots, 1, SLOTS_MAX) ||
        !whole(fault, "servers.replicas", config->servers.replicas, 1, REPLICAS_MAX)) {
        return false;
    }
    if (config->servers.replicas > config->servers.count) {
        return wrong(fault, "servers.replicas",
                     "%u, but servers.count is %u: each replica of a shard is on another server",
                     config->servers.replicas, config->servers.count);
    }
    if (config->servers.slots < shards) {
        return wrong(fault, "servers.slots",
                     "%u is less than the %" PRIu64 " shards of all servers", config->servers.slots,
                     shards);
    }
    return whole(fault, "workers.count", config->workers.count, 1, WORKERS_MAX) &&
           above(fault, "workers.lease_seconds", config->workers.lease_seconds, 0.0f) &&
           at_least(fault, "checkpoint.every_seconds", config->checkpoint.every_seconds, 0.0f) &&
           whole(fault, "checkpoint.keep", config->checkpoint.keep, 1, UINT32_MAX) &&
           filled(fault, "network.host", config->network.host) &&
           above(fault, "network.timeout_seconds", config->network.timeout_seconds, 0.0f) &&
           dead_seconds_hold(config, fault) &&
           ((config->expect.value == 0.0f && config->expect.metric[0] == '\0') ||
            metric_known(fault, "expect.metric", config->expect.metric));
}

bool config_limits_hold(const struct config *config, struct config_fault *fault)
{
    return run_holds(config, fault) && model_holds(config, fault) && train_holds(config, fault) &&
           optimizer_holds(config, fault) && embeddings_hold(config, fault) &&
           cluster_holds(config, fault);
}
